variable "name" {
  description = "Prefix of everything that is made."
  type        = string
  default     = "nightreel"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,20}$", var.name))
    error_message = "name must be 3 to 21 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "region" {
  description = "AWS region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must look like us-east-1."
  }
}

variable "bucket_prefix" {
  description = "The buckets are PREFIX-store and PREFIX-data; bucket names are unique in all of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{2,50}$", var.bucket_prefix))
    error_message = "bucket_prefix must be 3 to 51 lower-case letters, digits and hyphens."
  }
}

variable "source_bucket" {
  description = "Bucket that raw logs land in, which nights read and never write."
  type        = string
}

variable "vpc_id" {
  description = "VPC that all of it lies in."
  type        = string

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "vpc_id must be the id of a VPC."
  }
}

variable "private_subnet_ids" {
  description = "Subnets without a way in from the internet, in two availability zones or more."
  type        = set(string)

  validation {
    condition     = length(var.private_subnet_ids) >= 2
    error_message = "private_subnet_ids must name two subnets or more: RDS and EKS ask for two availability zones."
  }
}

variable "gpu_subnet_id" {
  description = "The one of them that GPU nodes start in: a night's volume stays in its availability zone."
  type        = string

  validation {
    condition     = contains(var.private_subnet_ids, var.gpu_subnet_id)
    error_message = "gpu_subnet_id must be one of private_subnet_ids."
  }
}

variable "api_cidrs" {
  description = "Networks that may reach the public door of Kubernetes' API. None: it has no public door."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.api_cidrs : can(cidrhost(cidr, 0)) && cidr != "0.0.0.0/0"])
    error_message = "api_cidrs must be networks such as 198.51.100.0/24, and not the whole internet."
  }
}

variable "kubernetes_version" {
  description = "Version of EKS; one in standard support, since extended support costs more."
  type        = string

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version must look like 1.36."
  }
}

variable "cpu_instance_types" {
  description = "Machines for servers and for nights in the pool cpu."
  type        = list(string)
  default     = ["m7i.xlarge"]
}

variable "gpu_instance_types" {
  description = "Machines for nights in the pool gpu."
  type        = list(string)
  default     = ["g6.xlarge"]
}

variable "cpu_nodes" {
  description = "Fewest and most CPU nodes."
  type        = object({ min = number, max = number })
  default     = { min = 2, max = 4 }

  validation {
    condition     = 1 <= var.cpu_nodes.min && var.cpu_nodes.min <= var.cpu_nodes.max
    error_message = "cpu_nodes must have 1 <= min <= max."
  }
}

variable "gpu_nodes_max" {
  description = "Most GPU nodes; there are none while no night needs one."
  type        = number
  default     = 1

  validation {
    condition     = 0 <= var.gpu_nodes_max && var.gpu_nodes_max <= 8 && floor(var.gpu_nodes_max) == var.gpu_nodes_max
    error_message = "gpu_nodes_max must be a whole number from 0 to 8."
  }
}

variable "database_class" {
  description = "Machine of PostgreSQL, which holds Prefect's, MLflow's and Optuna's tables."
  type        = string
  default     = "db.t4g.medium"
}

variable "noncurrent_days" {
  description = "Days that replaced and removed objects are kept in the data bucket."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 1
    error_message = "noncurrent_days must be 1 or more."
  }
}

variable "github_repository" {
  description = "OWNER/NAME whose main branch may push images, and the ARN of the account's OIDC provider for GitHub."
  type        = object({ name = string, oidc_provider_arn = string })

  validation {
    condition     = can(regex("^[^/*]+/[^/*]+$", var.github_repository.name))
    error_message = "github_repository.name must be OWNER/NAME."
  }
}

variable "auditor_principal_arns" {
  description = "Users who may take the auditor's role, by a second factor."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.auditor_principal_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:user/", arn))])
    error_message = "auditor_principal_arns must be ARNs of users, who have a second factor; not of whole accounts."
  }
}
