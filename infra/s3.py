"""S3 through boto3: the client, `s3://` URLs, and what a person reads when S3 says no."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from infra.errors import BadInput, NightreelError, Unreachable
from infra.settings import Settings

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.model import OperationModel
    from types_boto3_s3 import S3Client

SCHEME = "s3://"
CREDENTIALS = "Set NIGHTREEL_S3_ACCESS_KEY and NIGHTREEL_S3_SECRET_KEY, or an AWS profile or role"
NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound)
# seconds; three attempts, so a dead server is told within about two minutes and a refused connection at once
CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 5, 30, 3


def client(settings: Settings) -> "S3Client":
    """An S3 client for the endpoint, region and credentials of `settings`. Contacts nobody.

    Raises:
        BadInput: only one half of the credentials is set, or the endpoint is no URL.
    """
    import boto3

    harden_clients()
    access, secret = settings.s3_access_key, settings.s3_secret_key
    if (access is None) != (secret is None):
        have, lack = ("SECRET", "ACCESS") if access is None else ("ACCESS", "SECRET")
        raise BadInput(
            f"S3 credentials come in pairs. Received: NIGHTREEL_S3_{have}_KEY without NIGHTREEL_S3_{lack}_KEY"
        )
    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        # servers other than AWS seldom have a host name for each bucket
        s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
    )
    try:
        connection: S3Client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint,
            region_name=settings.s3_region,
            aws_access_key_id=access.get_secret_value() if access else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=config,
        )
        return connection
    except ValueError:
        raise BadInput(f"NIGHTREEL_S3_ENDPOINT must be an http(s) URL. Received: {settings.s3_endpoint!r}") from None
    except NO_CREDENTIALS as error:
        raise BadInput(f"S3 credentials cannot be used: {_line(error)}. {CREDENTIALS}.") from None


def harden_clients() -> None:
    """Mend what boto3's clients of this process, MLflow's too, do when a connection breaks within an answer's head.

    botocore 1.43 waits for ever for the rest of an answer to `Expect: 100-continue`, so bodies are sent without it. And
    an answer that lost the line with its length passes for an empty one, such as a folder without files: it is refused.
    """
    import boto3

    session = boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION or boto3.Session()
    session.events.register("before-send.s3", _expect_nothing, unique_id="nightreel-expect-nothing")
    session.events.register("before-parse.s3", _refuse_cut_head, unique_id="nightreel-refuse-cut-head")


def _expect_nothing(request: "AWSPreparedRequest", **_: object) -> None:
    if "Expect" in request.headers:
        del request.headers["Expect"]


def _refuse_cut_head(operation_model: "OperationModel", response_dict: dict[str, Any], **_: object) -> None:
    """Raise `ConnectionClosedError` for an answer of unknown length."""
    length = {"content-length", "transfer-encoding"} & {name.lower() for name in response_dict["headers"]}
    if response_dict["status_code"] == 200 and operation_model.http["method"] != "HEAD" and not length:
        raise ConnectionClosedError(endpoint_url="S3")


def aws_environment(settings: Settings) -> dict[str, str]:
    """Region, endpoint and credentials of `settings` as the environment variables that DVC and MLflow go by."""
    access, secret = settings.s3_access_key, settings.s3_secret_key
    values = {
        "AWS_ACCESS_KEY_ID": access and access.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": secret and secret.get_secret_value(),
        "AWS_DEFAULT_REGION": settings.s3_region,
        "MLFLOW_S3_ENDPOINT_URL": settings.s3_endpoint,
    }
    return {name: value for name, value in values.items() if value}


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`; the prefix has no slash at either end and may be empty.

    Raises:
        BadInput: `url` is no such URL.
    """
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or not bucket:
        raise BadInput(f"An S3 address looks like s3://bucket/prefix. Received: {url!r}")
    return bucket, prefix.strip("/")


@contextmanager
def s3_errors(where: str) -> Iterator[None]:
    """Turn whatever boto3 raises inside into one sentence about `where`, an `s3://` address.

    Raises:
        BadInput: credentials, bucket, region or name are wrong: trying again will not help.
        Unreachable: the server is gone, too slow or failing: trying again may help.
    """
    try:
        yield
    except ClientError as error:
        raise _answered(where, error) from error
    except NO_CREDENTIALS as error:
        raise BadInput(f"No S3 credentials for {where}: {_line(error)}. {CREDENTIALS}.") from error
    except ParamValidationError as error:
        raise BadInput(f"S3 does not take the address {where}: {_line(error)}") from error
    except BotoCoreError as error:
        raise Unreachable(
            f"S3 did not answer for {where}: {_line(error)}. Check the endpoint and try again."
        ) from error


def status(error: Exception) -> int:
    """The HTTP status of S3's answer, 0 when there was none."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) if isinstance(error, ClientError) else 0


def _answered(where: str, error: ClientError) -> NightreelError:
    code = error.response.get("Error", {}).get("Code", "")
    number = status(error)
    if code == "NoSuchBucket" or (number == 404 and error.operation_name == "HeadBucket"):
        return BadInput(f"The bucket of {where} does not exist. Create it, or correct the address.")
    if number in (301, 307, 400) and code in ("301", "PermanentRedirect", "AuthorizationHeaderMalformed"):
        return BadInput(f"The bucket of {where} is in another region. Set NIGHTREEL_S3_REGION to the bucket's own.")
    if number in (401, 403) or code in ("ExpiredToken", "InvalidToken"):
        return BadInput(f"S3 refused access to {where} ({code or number}). Check the credentials and their rights.")
    if number >= 500 or number == 429 or code in ("SlowDown", "RequestTimeout"):
        return Unreachable(f"S3 failed to answer for {where} ({code or number}). Try again later.")
    return BadInput(f"S3 did not accept a request for {where}: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
