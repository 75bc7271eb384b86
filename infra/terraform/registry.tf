resource "aws_ecr_repository" "this" {
  for_each             = toset(["nightreel", "nightreel-cuda"])
  name                 = each.value
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.this.arn
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each   = aws_ecr_repository.this
  repository = each.value.name

  # tagged images stay: a release can be rebuilt only in what it was made in
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "What was never tagged"
      selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
      action       = { type = "expire" }
    }]
  })
}
