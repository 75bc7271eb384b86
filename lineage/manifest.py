"""The manifest: every part of a release by its digest, and what it was made of. Its own digest names the release."""

from importlib.metadata import distributions
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from infra.errors import BadInput, Refused
from lineage.canonical import Commit, Digest, canonical, sha256, sha256_of_file

SNAPSHOT_PART = "record/snapshot.json"  # the manifest of the data that a release was trained on


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Part(_Frozen):
    """One file of a release: its digest and its size in bytes."""

    sha256: Digest
    bytes: Annotated[int, Field(ge=0)]


class Environment(_Frozen):
    """What the code ran on: digest of the hashed requirements file, Python's version, versions of packages."""

    lock: Digest
    python: str
    packages: dict[str, str]


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or str(pure) != path or path == "." or "\0" in path:
        raise ValueError("a part's path must be relative and stay in the release's folder")
    return path


class Facts(_Frozen):
    """What a release was made of. No times and no run ids, so that equal work gives an equal release.

    Attributes:
        name: the recommender's name.
        data: digests and facts of the snapshot.
        code: git commit of the code that ran.
        params: SHA-256 of the parameters.
        verdict: SHA-256 of the gate's verdict.
        environment: what the code ran on.
        space: embedding-space id that model and index share.
        candidate: which candidate won.
        as_of: the night's date, ISO 8601.
    """

    name: str
    data: dict[str, JsonValue]
    code: Commit
    params: Digest
    verdict: Digest
    environment: Environment
    space: Digest
    candidate: str
    as_of: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]


class Manifest(Facts):
    """A release on paper: the facts, and `parts`, its files by their path in the release's folder, with slashes."""

    parts: dict[Annotated[str, AfterValidator(_inside)], Part]

    def encoded(self) -> bytes:
        """The bytes that are stored."""
        return canonical(self.model_dump())

    @property
    def release(self) -> str:
        """The release's name: SHA-256 of `encoded`."""
        return sha256(self.encoded())

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> "Manifest":
        """Read back `encoded`. Raises `Refused` when `data` is no manifest, or not as this code would write it."""
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(map(str, fault["loc"])) or "the whole"
            raise Refused(f"{where} is not a manifest that this version reads: {key}: {fault['msg']}.") from None
        if manifest.encoded() != data:
            raise Refused(f"{where} is not in canonical form.")
        return manifest


def installed_packages() -> dict[str, str]:
    """Versions of all packages of this environment, by name."""
    return dict(sorted((found.name.lower(), found.version) for found in distributions()))


def build(folder: Path, facts: Facts) -> Manifest:
    """The manifest of the files below `folder`. Raises `BadInput` when there is none."""
    parts = digests(folder)
    if not parts:
        raise BadInput(f"A release needs at least one file. Received: {folder}, which holds none")
    return Manifest(**dict(facts), parts=parts)


def digests(folder: Path) -> dict[str, Part]:
    """Digest and size of each file below `folder`, by its path with slashes."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {
        path.relative_to(folder).as_posix(): Part(sha256=sha256_of_file(path), bytes=path.stat().st_size)
        for path in files
    }


def check(folder: Path, manifest: Manifest) -> None:
    """Recompute every digest below `folder`. Raises `Refused` that names each file that is not as in `manifest`."""
    if found := faults(folder, manifest):
        raise Refused(f"{folder} is not release {manifest.release[:12]}: {'; '.join(found)}.")


def faults(folder: Path, manifest: Manifest) -> list[str]:
    """What `check` refuses: one phrase for each file that is missing, too many or different."""
    found, wanted = digests(folder), manifest.parts
    return [
        *(f"{path} is missing" for path in sorted(wanted.keys() - found.keys())),
        *(f"{path} does not belong to it" for path in sorted(found.keys() - wanted.keys())),
        *(f"{path} differs" for path in sorted(found.keys() & wanted.keys()) if found[path] != wanted[path]),
    ]
