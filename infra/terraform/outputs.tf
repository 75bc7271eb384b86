# What infra/kubernetes/overlays wants to be told, by the name that stands there.
output "kustomize" {
  description = "Values for servers.env, night.env, the images and the annotations of the service accounts."
  value = {
    AWS_DEFAULT_REGION           = var.region
    MLFLOW_ARTIFACTS_DESTINATION = "s3://${local.buckets.data}/mlflow"
    NIGHTREEL_REMOTE             = "s3://${local.buckets.data}/dvc"
    NIGHTREEL_S3_REGION          = var.region
    NIGHTREEL_STORE              = "s3://${local.buckets.store}"
    PGHOST                       = aws_db_instance.this.address
    PGUSER                       = aws_db_instance.this.username
    images                       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
    roles                        = { for name in ["worker", "mlflow"] : name => aws_iam_role.service[name].arn }
  }
}

output "database_secret" {
  description = "Where Secrets Manager keeps the database's password."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

output "autoscaler_role" {
  description = "Role for the service account kube-system/cluster-autoscaler."
  value       = aws_iam_role.service["autoscaler"].arn
}

output "ci_role" {
  description = "Role that CI takes to push images."
  value       = aws_iam_role.ci.arn
}
