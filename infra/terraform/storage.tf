# store: releases and ledgers (NIGHTREEL_STORE). data: DVC's remote (NIGHTREEL_REMOTE) and MLflow's artifacts.
locals {
  buckets = { store = "${var.bucket_prefix}-store", data = "${var.bucket_prefix}-data" }

  # Folders of the store that Nightreel adds to with If-None-Match and removes nothing from.
  append_only = [
    "approvals", "attestations", "erasures", "evidence", "holds", "ledgers", "manifests", "monitor", "retired", "runs",
  ]
}

resource "aws_kms_key" "this" {
  description             = "${var.name}: buckets, database, images, Kubernetes secrets"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_s3_bucket" "this" {
  for_each = local.buckets
  bucket   = each.value

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = aws_s3_bucket.this
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

# Nothing in the store expires: a ledger refers to its releases for ever, and erasure removes versions by itself.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  dynamic "rule" {
    for_each = each.key == "data" ? [1] : []

    content {
      id     = "replaced-and-removed"
      status = "Enabled"
      filter {}

      noncurrent_version_expiration {
        noncurrent_days = var.noncurrent_days
      }

      expiration {
        expired_object_delete_marker = true
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

data "aws_iam_policy_document" "bucket" {
  for_each = aws_s3_bucket.this

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [each.value.arn, "${each.value.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # Holds for every role of the account, administrators too: to change this policy is the one way past it.
  dynamic "statement" {
    for_each = each.key == "store" ? [1] : []

    content {
      sid       = "AppendOnlyIsNeverRemoved"
      effect    = "Deny"
      actions   = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectTagging", "s3:PutObjectVersionTagging"]
      resources = [for folder in local.append_only : "${each.value.arn}/${folder}/*"]

      principals {
        type        = "*"
        identifiers = ["*"]
      }
    }
  }

  # A put without If-None-Match could lay a second version over an entry.
  dynamic "statement" {
    for_each = each.key == "store" ? [1] : []

    content {
      sid       = "AppendOnlyIsNeverReplaced"
      effect    = "Deny"
      actions   = ["s3:PutObject"]
      resources = [for folder in local.append_only : "${each.value.arn}/${folder}/*"]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "Null"
        variable = "s3:if-none-match"
        values   = ["true"]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id
  policy   = data.aws_iam_policy_document.bucket[each.key].json

  depends_on = [aws_s3_bucket_public_access_block.this]
}
