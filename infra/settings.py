"""Where this installation keeps things and which services it talks to.

Settings differ between a laptop and production; parameters (`params.yaml`) decide what is trained. Nothing here
changes a model, so none of it is part of a run's key.
"""

import getpass
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import BadInput

STACK, ADDRESSES = "stack", "addresses.json"
# What stays together: where the environment names one of a row, none of it is taken from the stack, so that no service
# is shown another one's credentials.
TOGETHER = (
    ("store", "remote", "s3_endpoint", "s3_access_key", "s3_secret_key"),
    ("mlflow_uri", "mlflow_tracking_username", "mlflow_tracking_password"),
    ("prefect_api_url", "prefect_api_auth_string"),
)


class Addresses(BaseModel):
    """Where the services are that `nightreel up` started or, `external`, was told of; fields as in `Settings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    external: bool = False
    store: str | None = None
    remote: str | None = None
    s3_endpoint: str | None = None
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    mlflow_uri: str | None = None
    mlflow_tracking_username: str | None = None
    mlflow_tracking_password: SecretStr | None = None
    prefect_api_url: str | None = None
    prefect_api_auth_string: SecretStr | None = None


class Settings(BaseSettings):
    """Read from the environment, prefix `NIGHTREEL_`, then from the stack that `nightreel up` made under `home`.

    Every field has a default that works on one machine.

    Attributes:
        home: folder of all local state; default `.nightreel` beside the checkout's `.git`.
        store: release store and ledgers: a folder or `s3://bucket/prefix`; default `home/store`.
        remote: DVC remote to push each run to, a folder or `s3://bucket/prefix`; none by default.
        mlflow_uri: MLflow tracking and registry; default SQLite under `home`.
        mlflow_artifacts: where new MLflow experiments keep artifacts; default a folder under `home`.
        s3_endpoint: S3 endpoint; none means AWS.
        s3_access_key, s3_secret_key: S3 credentials; none means boto3's own search (environment, profile, role).
        s3_region: region of buckets.
        actor: who the ledger names for what this process does; default the operating system's user.
        signing_key: Ed25519 private key, PEM or the path of a file with it; default one that is generated under `home`.
        trusted_keys: public key (PEM) or folder of them whose signatures count; default the own key alone.
        erasure_key: 64 hexadecimal digits that erased viewers are hashed with; default generated under `home`.
        openlineage_url: HTTP endpoint that OpenLineage events go to, and the bearer token that it asks for, if any:
            `openlineage_api_key`; default a file under `home`.
        lease_seconds: how long a night that is not heard of keeps others of its recommender from starting.
        mlflow_tracking_username, mlflow_tracking_password: what MLflow asks for, by MLflow's own variables.
        prefect_api_url, prefect_api_auth_string: Prefect's server and what it asks for, by Prefect's own variables.
        notify_url, notify_token: where news for people goes, and the bearer token sent along; none by default.
        tuning_url: SQLAlchemy URL of the database of hyperparameter searches, such as `postgresql+psycopg://...`;
            default SQLite under `home`.
    """

    model_config = SettingsConfigDict(env_prefix="NIGHTREEL_", frozen=True, extra="ignore")

    home: Path | None = None
    store: str | None = None
    remote: str | None = None
    mlflow_uri: str | None = None
    mlflow_artifacts: str | None = None
    s3_endpoint: str | None = None
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    actor: str | None = None
    signing_key: SecretStr | None = None
    trusted_keys: Path | None = None
    erasure_key: SecretStr | None = None
    openlineage_url: str | None = None
    openlineage_api_key: SecretStr | None = None
    notify_url: SecretStr | None = None
    notify_token: SecretStr | None = None
    tuning_url: SecretStr | None = None
    lease_seconds: float = 120
    # an alias leaves out the prefix
    mlflow_tracking_username: str | None = Field(None, validation_alias="mlflow_tracking_username")
    mlflow_tracking_password: SecretStr | None = Field(None, validation_alias="mlflow_tracking_password")
    prefect_api_url: str | None = Field(None, validation_alias="prefect_api_url")
    prefect_api_auth_string: SecretStr | None = Field(None, validation_alias="prefect_api_auth_string")

    @field_validator("lease_seconds", mode="before")
    @classmethod
    def _finite(cls, said: object) -> float:
        try:
            seconds = float(str(said))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise BadInput(f"NIGHTREEL_LEASE_SECONDS must be a number above 0. Received: {said!r}")
        return seconds

    @model_validator(mode="before")
    @classmethod
    def _with_stack(cls, said: dict[str, Any]) -> dict[str, Any]:
        """Fill what nobody said from the stack under `home`, if there is one.

        Its own words do not count as said: clients leave credentials in the environment of their process.
        """
        stack = _addresses(said.get("home"))
        same = {name for name in stack.keys() & said.keys() if _plain(stack[name]) == _plain(said[name])}
        free = (group for group in TOGETHER if (said.keys() - same).isdisjoint(group))
        return {name: stack[name] for group in free for name in group if name in stack} | said

    @cached_property
    def home_dir(self) -> Path:
        """`home`, made absolute. Raises `BadInput` outside a git checkout when `home` is not set."""
        return (self.home or git_common_dir().parent / ".nightreel").resolve()

    @property
    def who(self) -> str:
        """Whom the ledger names for what this process does."""
        return self.actor or getpass.getuser()

    @property
    def store_url(self) -> str:
        """The release store's folder or `s3://` URL."""
        return self.store or str(self.home_dir / "store")


def settings_at(root: Path | None) -> Settings:
    """The settings of a process that works for the checkout at `root` and may stand elsewhere; None: for its own."""
    settings = Settings()
    if root is None or settings.home is not None:
        return settings
    return Settings(home=git_common_dir(root).parent / ".nightreel")


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _addresses(home: str | Path | None) -> dict[str, Any]:
    """The stack's addresses under `home` (default: this checkout's), none where no stack was up.

    Raises:
        BadInput: there are some, and they cannot be read.
    """
    try:
        home = Path(home or git_common_dir().parent / ".nightreel")
    except BadInput:
        return {}
    file = home / STACK / ADDRESSES
    try:
        return Addresses.model_validate_json(file.read_text(encoding="utf-8")).model_dump(exclude_none=True)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):  # what pydantic says of it would show secrets
        raise BadInput(f"The addresses of the stack in {file} cannot be read. `nightreel up` writes them.") from None


def git_common_dir(start: Path | None = None) -> Path:
    """The `.git` folder that all worktrees of the checkout at `start` (default: here) share.

    Raises:
        BadInput: `start` is not inside a git checkout.
    """
    start = (start or Path.cwd()).resolve()
    asked = subprocess.run(
        ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"],
        cwd=start,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        raise BadInput(
            f"Nightreel runs inside a git checkout, because a run's result is a commit. Received: {start}, which is "
            "in none. Run `git init && git add -A && git commit -m 'Start'` there, or change to a checkout."
        )
    return Path(asked.stdout.strip())
