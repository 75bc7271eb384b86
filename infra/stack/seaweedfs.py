"""SeaweedFS: S3 in one process."""

import json
import sysconfig
from pathlib import Path

from infra import s3
from infra.errors import NightreelError
from infra.settings import Settings
from infra.stack.credentials import USER
from infra.stack.layout import HOST, WEED_PORTS, Stack, write_private
from infra.stack.service import Service

NAME = "seaweedfs"
BUCKET = "nightreel"
MARK = "ready"


def service(stack: Stack) -> Service:
    """SeaweedFS of `stack`."""
    settings = settings_of(stack)
    return Service(
        NAME,
        where=stack.url("s3.port"),
        command=command(stack),
        prepare=lambda: _prepare(stack),
        ready=lambda: _ready(settings),
    )


def command(stack: Stack) -> list[str]:
    """`weed server` with its S3 door, and nothing that calls home."""
    folder = stack.data(NAME)
    return [
        str(Path(sysconfig.get_path("scripts")) / "weed"),
        f"-config_dir={folder}",  # of security.toml
        "server",
        "-disableHttp",
        f"-dir={folder}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        "-volume.preStopSeconds=1",  # nobody else has to hear that it stops
        "-volume.max=0",  # as many volumes as the disk has room for
        "-filer",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",  # as AWS
        *(f"-{name}={stack.ports[name]}" for name in WEED_PORTS),
    ]


def settings_of(stack: Stack) -> Settings:
    """Settings that lead to this S3."""
    keys = {"s3_access_key": stack.credentials.s3_access_key, "s3_secret_key": stack.credentials.s3_secret_key}
    return Settings.model_validate({"s3_endpoint": stack.url("s3.port"), **keys})


def _prepare(stack: Stack) -> None:
    """Who may use S3; and a key by which the doors behind it know each other and refuse everybody else."""
    folder = stack.data(NAME)
    keys = {"accessKey": stack.credentials.s3_access_key, "secretKey": stack.credentials.s3_secret_key}
    identity = {"name": USER, "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    write_private(folder / "s3.json", json.dumps({"identities": [identity]}))
    doors = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    inside = "".join(f'[{door}]\nkey = "{stack.credentials.s3_inside}"\n' for door in doors)
    write_private(folder / "security.toml", inside)


def _ready(settings: Settings) -> bool:
    """Whether S3 answers with an object, which needs every part of it; made, and its bucket, when S3 is first up."""
    from botocore.exceptions import ClientError

    client = s3.client(settings)
    try:
        with s3.s3_errors(BUCKET):
            try:
                client.get_object(Bucket=BUCKET, Key=MARK)["Body"].read()
            except ClientError as error:
                if s3.status(error) != 404:
                    raise
                client.create_bucket(Bucket=BUCKET)  # again is as well
                client.put_object(Bucket=BUCKET, Key=MARK, Body=b"ready")
    except NightreelError:
        return False
    return True
