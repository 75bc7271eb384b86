"""MLflow: one experiment and one registered model a recommender; runs and versions are found by key before made."""

import logging
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from infra.disk import room_on
from infra.errors import BadInput, Unreachable
from infra.locks import locked
from infra.s3 import aws_environment, harden_clients
from infra.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

KEY = "nightreel.key"
MIRRORED = "nightreel.mirrored"  # of the registered model: the ledger entry that the alias followed last, its version
REFUSED = "nightreel.refused"  # of a version: why what a person asked for was not done
RESTORES = "nightreel.restores"  # of a version: the deleted one that it stands for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """The registered model as people see and change it in MLflow at one moment.

    Attributes:
        aliases: version by alias.
        tags: of the registered model.
        versions: tags of each version that is not deleted, by its number.
    """

    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    versions: Mapping[str, Mapping[str, str]]

    @property
    def mirrored(self) -> tuple[int, str]:
        """The ledger entry that `champion` followed last and its model version; `(0, "")` where none was."""
        seq, _, version = self.tags.get(MIRRORED, "").partition(" ")
        return (int(seq), version) if seq.isdecimal() else (0, "")

    def standing_for(self, version: str) -> str | None:
        """The newest version that was made to stand for `version` when it was lost, or itself; None: neither."""
        made = [number for number, tags in self.versions.items() if tags.get(RESTORES) == version]
        return max(made, key=int, default=version if version in self.versions else None)


class Registry:
    """The MLflow experiment and registered model called `name`."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        self._settings = settings
        home = settings.home_dir
        self.uri = settings.mlflow_uri or f"sqlite:///{home / 'mlflow.db'}"
        self._artifacts = settings.mlflow_artifacts or (None if settings.mlflow_uri else str(home / "mlartifacts"))

    @cached_property
    def _client(self) -> Any:
        # A night fails over to "try again tomorrow" sooner than MLflow's own seven retries, which take minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # where a command prints its answer
        os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        os.environ.update(aws_environment(self._settings))
        user, password = self._settings.mlflow_tracking_username, self._settings.mlflow_tracking_password
        if user and password:
            os.environ.update(MLFLOW_TRACKING_USERNAME=user, MLFLOW_TRACKING_PASSWORD=password.get_secret_value())
        self._settings.home_dir.mkdir(parents=True, exist_ok=True)
        harden_clients()
        import mlflow

        for chatter in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(chatter).setLevel(logging.ERROR)
        if not self._settings.mlflow_uri:
            _make_database(self._settings.home_dir)
        mlflow.set_tracking_uri(self.uri)
        return mlflow.MlflowClient(tracking_uri=self.uri)

    @contextmanager
    def _asked(self) -> Iterator[Any]:
        """The client, its errors put into a sentence."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with room_on(self._settings.home_dir):
                yield self._client
        except (MlflowException, SQLAlchemyError) as error:
            told = f"MLflow at {self.uri.split('@')[-1]} did not carry out a request: {_reason(error)}."
            raise Unreachable(f"{told} Check NIGHTREEL_MLFLOW_URI, or that it is up, and run again.") from error
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise Unreachable(
                f"MLflow's artifacts at {self._artifacts} could not be stored: {_reason(error)}"
            ) from error

    @cached_property
    def experiment(self) -> str:
        """The experiment's id; made on first use."""
        with self._asked() as client:
            found = client.get_experiment_by_name(self.name)
            if found is not None:
                return str(found.experiment_id)
            return str(client.create_experiment(self.name, artifact_location=self._artifacts))

    def run(self, key: str, *, title: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """The id of the MLflow run with this key, found or made."""
        with self._asked() as client:
            found = client.search_runs([self.experiment], filter_string=f"tags.`{KEY}` = '{key}'", max_results=1)
            if found:
                return str(found[0].info.run_id)
            nested = {"mlflow.parentRunId": parent} if parent else {}
            tags = {KEY: key, "mlflow.runName": title, **tags, **nested}
            return str(client.create_run(self.experiment, tags=tags).info.run_id)

    def is_finished(self, run: str) -> bool:
        """Whether all of the run was logged before."""
        with self._asked() as client:
            return bool(client.get_run(run).info.status == "FINISHED")

    def has_ended(self, run: str) -> bool:
        """Whether the run was marked as whole or as failed."""
        with self._asked() as client:
            return bool(client.get_run(run).info.status in ("FINISHED", "FAILED", "KILLED"))

    def finish(self, run: str, *, status: str = "FINISHED") -> None:
        """Mark the run as whole, or as `FAILED` or `KILLED`."""
        with self._asked() as client:
            client.set_terminated(run, status=status)

    def log(self, run: str, *, params: Mapping[str, object], metrics: Sequence[tuple[str, float, int]]) -> None:
        """Log parameters and `(name, value, step)` metrics; `@` in a name becomes `_at_`, which MLflow allows."""
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        values = [Metric(_allowed(name), value, now, step) for name, value, step in metrics]
        settings = [Param(name, str(value)[:6000]) for name, value in params.items()]
        with self._asked() as client:
            for at in range(0, max(len(values), len(settings), 1), 100):
                client.log_batch(run, metrics=values[at : at + 100], params=settings[at : at + 100])

    def steps(self, run: str, metric: str) -> set[int]:
        """The steps at which the run has `metric`."""
        with self._asked() as client:
            return {found.step for found in client.get_metric_history(run, _allowed(metric))}

    def log_inputs(self, run: str, digests: Mapping[str, tuple[str, str]]) -> None:
        """Name the data sets that the run read: `{name: (digest, source)}`; MLflow keeps 36 characters of a digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(name=name, digest=digest[:36], source_type="local", source=source),
                [InputTag("mlflow.data.context", "training"), InputTag("sha256", digest)],
            )
            for name, (digest, source) in digests.items()
        ]
        with self._asked() as client:
            client.log_inputs(run, inputs)

    def log_files(self, run: str, source: Path, target: str) -> None:
        """Copy a file or a folder to the run's artifacts, under `target`."""
        with self._asked() as client:
            (client.log_artifacts if source.is_dir() else client.log_artifact)(run, str(source), target)

    def log_model(self, run: str, **model: Any) -> str:
        """Log a pyfunc model from code under the run; its URI."""
        import mlflow

        with self._asked(), mlflow.start_run(run_id=run, log_system_metrics=False):
            return str(mlflow.pyfunc.log_model(**model).model_uri)

    def version_of(self, key: str) -> "ModelVersion | None":
        """The model version with this key, if there is one."""
        with self._asked() as client:
            found = client.search_model_versions(f"name = '{self.name}' and tags.`{KEY}` = '{key}'")
            return found[0] if found else None

    def create_version(self, key: str, *, source: str, run: str, tags: Mapping[str, str]) -> str:
        """Register a model version under this key; its number."""
        with self._asked() as client:
            if not client.search_registered_models(f"name = '{self.name}'"):
                client.create_registered_model(self.name)
            logged = source.removeprefix("models:/") if source.startswith("models:/") else None  # a server asks for it
            made = client.create_model_version(self.name, source, run, tags={KEY: key, **tags}, model_id=logged)
            return str(made.version)

    def tag_version(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a model version."""
        with self._asked() as client:
            for name, value in tags.items():
                client.set_model_version_tag(self.name, version, name, value)

    def untag_version(self, version: str, tag: str) -> None:
        """Remove a tag of a model version; none there is as well."""
        with self._asked() as client:
            client.delete_model_version_tag(self.name, version, tag)

    def tags_of(self, version: str) -> dict[str, str]:
        """Tags of a model version. Raises `BadInput` when there is no such version."""
        found = self.versions().get(version)
        if found is not None:
            return found
        raise BadInput(f"There is no model version {version} of {self.name} in MLflow at {self.uri.split('@')[-1]}")

    def versions(self) -> dict[str, dict[str, str]]:
        """Tags by the number of every model version; none where there is no such model."""
        with self._asked() as client:
            found: dict[str, dict[str, str]] = {}
            token = None
            while True:
                page = client.search_model_versions(f"name = '{self.name}'", page_token=token)
                found |= {str(version.version): dict(version.tags) for version in page}
                if not (token := page.token):
                    return found

    def restore_run(self, version: str) -> bool:
        """Bring back the run of a model version if it was deleted and not yet purged; whether it was."""
        from mlflow.exceptions import MlflowException

        with self._asked() as client:
            run = client.get_model_version(self.name, version).run_id
            try:
                if client.get_run(run).info.lifecycle_stage != "deleted":
                    return False
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise
            client.restore_run(run)
            return True

    def model_files(self, version: str) -> dict[str, int] | None:
        """Size in bytes by path of each file of a version's model; None where the model itself was deleted."""
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._asked() as client:
            try:
                model = client.get_logged_model(self._model_of(client, version))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
            repository: Any = get_artifact_repository(model.artifact_location)
            return dict(_listed(repository, None))

    def put_model_files(self, version: str, **model: Any) -> None:
        """Put the files of a pyfunc model from code where those of `version` were; arguments as of `log_model`."""
        import mlflow

        with self._asked() as client, TemporaryDirectory() as folder:
            mlflow.pyfunc.save_model(f"{folder}/model", **{key: model[key] for key in model if key != "name"})
            client.log_model_artifacts(self._model_of(client, version), f"{folder}/model")

    def _model_of(self, client: Any, version: str) -> str:
        """The logged model of a version; MLflow's database keeps its id in the source alone."""
        return str(client.get_model_version(self.name, version).source).removeprefix("models:/")

    def tag_model(self, name: str, value: str) -> None:
        """Set a tag of the registered model."""
        with self._asked() as client:
            client.set_registered_model_tag(self.name, name, value)

    def artifacts(self, key: str, *, below: Collection[str]) -> list[str]:
        """URIs of what is kept of the run with this key and its children in the folders `below`, and of its models.

        Empty when there is no such run, or when nothing of it is left.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._asked() as client:
            return [uri for uri in self._kept(client, key, below) if get_artifact_repository(uri).list_artifacts()]

    def artifact_bytes(self, uri: str) -> int:
        """How much lies at `uri`."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._asked():
            return sum(size for _, size in _listed(get_artifact_repository(uri), None))

    def delete_artifacts(self, uri: str) -> None:
        """Delete all that lies at `uri`, through MLflow's own way to it."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._asked():
            repository: Any = get_artifact_repository(uri)
            for file in repository.list_artifacts():
                repository.delete_artifacts(file.path)

    def _kept(self, client: Any, key: str, below: Collection[str]) -> Iterator[str]:
        """Where a run, its children and its models keep artifacts."""
        experiment = client.get_experiment_by_name(self.name)
        if experiment is None:
            return
        where = [experiment.experiment_id]
        for night in client.search_runs(where, filter_string=f"tags.`{KEY}` = '{key}'"):
            children = client.search_runs(where, filter_string=f"tags.`mlflow.parentRunId` = '{night.info.run_id}'")
            for run in (night, *children):
                yield from (f"{run.info.artifact_uri.rstrip('/')}/{folder}" for folder in below)
                for model in client.search_logged_models(where, filter_string=f"source_run_id = '{run.info.run_id}'"):
                    yield model.artifact_location

    def alias(self, alias: str) -> str | None:
        """The model version that `alias` points to, None when it points to none."""
        with self._asked() as client:
            if not client.search_registered_models(f"name = '{self.name}'"):
                return None
            version = client.get_registered_model(self.name).aliases.get(alias)
            return None if version is None else str(version)

    def mirror_once(self, alias: str, version: str | None, *, seq: int) -> None:
        """Have `alias` follow ledger entry `seq`, whose model is `version`.

        A file beside the other state remembers the entry that was mirrored last, so that a night with nothing to do
        need not ask MLflow, which takes seconds to import.
        """
        done = self._settings.home_dir / "mirrored" / self.name
        if version is None or (done.exists() and done.read_text(encoding="utf-8") == str(seq)):
            return
        if not self.mirror(alias, version, seq=seq):
            return
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(str(seq), encoding="utf-8")

    def mirror(self, alias: str, version: str, *, seq: int) -> bool:
        """Have `alias` follow ledger entry `seq`; False where MLflow has no longer any version to point it to.

        An alias that a person has moved since the entry before is put back like the others, and says why: whatever it
        asks for was not held against what is live now.
        """
        shown = self.shown()
        last, before = shown.mirrored
        target, now = shown.standing_for(version), shown.aliases.get(alias)
        if target is None:
            log.warning("MLflow has lost model version %s of %s: `nightreel reconcile` restores it", version, self.name)
            return False
        if now not in (None, target, shown.standing_for(before)) and 0 < last < seq:
            self.tag_version(str(now), {REFUSED: f"ledger entry {seq} went live meanwhile; ask again if it is meant"})
        if now != target:
            self.set_alias(alias, target)
        if (last, before) != (seq, version):
            self.tag_model(MIRRORED, f"{seq} {version}")
        return True

    def shown(self) -> Shown:
        """The registered model as it is now; empty where there is none."""
        with self._asked() as client:
            if not client.search_registered_models(f"name = '{self.name}'"):
                return Shown({}, {}, {})
            # aliases first: a version that they name was there when the versions are read
            model = client.get_registered_model(self.name)
        aliases = {alias: str(version) for alias, version in model.aliases.items()}
        return Shown(aliases, dict(model.tags), self.versions())

    def set_alias(self, alias: str, version: str | None) -> None:
        """Point `alias` to a version, or remove it."""
        with self._asked() as client:
            if version is None:
                client.delete_registered_model_alias(self.name, alias)
            else:
                client.set_registered_model_alias(self.name, alias, version)


def _listed(repository: Any, path: str | None) -> Iterator[tuple[str, int]]:
    for found in repository.list_artifacts(path):
        if found.is_dir:
            yield from _listed(repository, found.path)
        else:
            yield found.path, found.file_size or 0  # MLflow's server leaves out a zero


def _make_database(home: Path) -> None:
    """Make `home/mlflow.db` whole or not at all.

    MLflow makes its tables in dozens of steps, and a kill between two leaves a database that it can never open again.
    """
    database, partial = home / "mlflow.db", home / "mlflow.partial.db"
    if database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with locked(home / "mlflow.lock"):
        if database.exists():
            return
        for leftover in home.glob(f"{partial.name}*"):  # its journal too
            leftover.unlink()
        store = SqlAlchemyStore(f"sqlite:///{partial}", str(home / "mlartifacts"))  # type: ignore[no-untyped-call]
        store.engine.dispose()
        partial.replace(database)


def _reason(error: Exception) -> str:
    """The first line of what went wrong: of a refused connection the last cause, of a statement no SQL."""
    told = str(error).splitlines()[0]
    caused = re.search(r"Caused by \w+\([\"'](?:\w+\(.*?\): )?(.*?)[\"']\)", told)
    return (caused[1] if caused else told)[:300].rstrip(".")


def _allowed(name: str) -> str:
    return name.replace("@", "_at_").replace("=", "/")
