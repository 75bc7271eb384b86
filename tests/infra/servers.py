"""Real servers that tests start on this machine and kill at the end."""

import json
import socket
import subprocess
import sysconfig
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from infra import s3
from infra.settings import Settings

BUCKET = "nightreel"
START_SECONDS = 90
PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)


@dataclass(frozen=True)
class S3Server:
    """A SeaweedFS server with one bucket, `BUCKET`, and one pair of keys."""

    endpoint: str
    access_key: str
    secret_key: str
    process: subprocess.Popen[bytes]

    def settings(self, **others: object) -> Settings:
        """Settings that lead to this server; `others` are further fields or overrides."""
        fields: dict[str, object] = {
            "s3_endpoint": self.endpoint,
            "s3_access_key": SecretStr(self.access_key),
            "s3_secret_key": SecretStr(self.secret_key),
        }
        return Settings.model_validate(fields | others)

    def environment(self) -> dict[str, str]:
        """The same as environment variables, for a child process."""
        return {
            "NIGHTREEL_S3_ENDPOINT": self.endpoint,
            "NIGHTREEL_S3_ACCESS_KEY": self.access_key,
            "NIGHTREEL_S3_SECRET_KEY": self.secret_key,
        }

    def new_prefix(self) -> str:
        """An `s3://` address under which nothing is stored yet."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}"

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self.process.kill()
        self.process.wait()


@contextmanager
def seaweed(folder: Path) -> Iterator[S3Server]:
    """A SeaweedFS server that keeps its data in `folder`, ready to answer; killed at the end."""
    keys = {"accessKey": "nightreel-test", "secretKey": uuid.uuid4().hex}
    identity = {"name": "tests", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = free_ports(len(PORTS))
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command(folder, ports), cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    port = ports[PORTS.index("s3.port")]
    server = S3Server(f"http://127.0.0.1:{port}", keys["accessKey"], keys["secretKey"], process)
    try:
        wait_until_ready(server, log=folder / "weed.log")
        yield server
    finally:
        server.kill()


def command(folder: Path, ports: list[int]) -> list[str]:
    """`weed server` with S3 on this machine's own address only."""
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    return [
        str(weed),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=100",
        "-filer",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",  # as AWS
        *(f"-{name}={port}" for name, port in zip(PORTS, ports, strict=True)),
    ]


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_ready(server: S3Server, *, log: Path) -> None:
    """Wait until a bucket could be made and an object written, which needs every part of the server."""
    deadline = time.monotonic() + START_SECONDS
    client = s3.client(server.settings())
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            return
        except (ClientError, BotoCoreError) as error:
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-4000:]}") from error
            time.sleep(0.2)
