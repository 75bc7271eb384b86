"""What people deleted in MLflow of the model that is live: found, and restored from the release store."""

from collections.abc import Mapping

from flows.live import Live
from flows.people import CHAMPION, Finding
from infra.errors import BadInput, Refused
from infra.registry import RESTORES
from lineage.ledger import Entry
from lineage.manifest import Manifest
from lineage.recorded import trained_release
from lineage.runs import records
from tasks.register import served, version_tags

LOST = "nightreel.lost"  # of the registered model: what could not be restored, so that it is told once
NEEDED = ("MLmodel", "pyfunc.py")


def restore_live(live: Live) -> list[Finding]:
    """Bring back run, model files and model version of what is live, as far as they are gone.

    MLflow gives no number twice: a version that was deleted comes back under a new one, which names the old one in the
    tag `nightreel.restores`. The ledger keeps the number that it was written with.
    """
    head = live.ledger.proven_head()
    if head is None or head.model_version is None:
        return []
    try:
        return _restored(head, head.model_version, live)
    except (BadInput, Refused) as error:
        said = f"model version {head.model_version}, which is live, is damaged in MLflow and stays so: {error}"
        if live.registry.shown().tags.get(LOST) == said:
            return []
        live.registry.tag_model(LOST, said)
        return [Finding("lost", head.model_version, said)]


def _restored(head: Entry, version: str, live: Live) -> list[Finding]:
    manifest = live.releases.manifest(trained_release(head.release, live.books))
    number = live.registry.shown().standing_for(version)
    if number is None:
        return [_anew(version, "was deleted", manifest, head, live)]
    found = []
    if live.registry.restore_run(number):
        found.append(Finding("restored", number, f"the run of model version {number}, which is live, was deleted"))
    files = live.registry.model_files(number)
    if files is None:
        return [*found, _anew(version, "has lost its model", manifest, head, live)]
    if not _is_whole(files, manifest):
        folder = live.releases.open(manifest.release)
        live.registry.put_model_files(number, **served(folder, manifest.candidate))
        said = f"files of model version {number}, which is live, were deleted; they are those of its release again"
        found.append(Finding("restored", number, said))
    return found


def _anew(version: str, why: str, manifest: Manifest, head: Entry, live: Live) -> Finding:
    """Register the live release once more, with all that its first model version said."""
    folder = live.releases.open(manifest.release)
    record = next((each for each in records(live.books.store, live.name) if each.release == manifest.release), None)
    if record is None:
        raise Refused(f"The store has no record of the night that made release {manifest.release[:12]}.")
    tags = version_tags(manifest, commit=record.commit, run=record.run, passed=bool(record.verdict))
    run = live.registry.run(record.run, title=record.run, tags={"nightreel.kind": "night"})
    source = live.registry.log_model(run, **served(folder, manifest.candidate))
    made = live.registry.create_version(record.run, source=source, run=run, tags=tags | {RESTORES: version})
    live.registry.mirror(CHAMPION, version, seq=head.seq)
    return Finding("restored", made, f"model version {version}, which is live, {why}: it is model version {made} now")


def _is_whole(files: Mapping[str, int], manifest: Manifest) -> bool:
    """Whether MLflow has each part of the release, in its size, and what loads them."""
    folders = {path.split("/")[1] for path in files if path.startswith("artifacts/")}
    sizes = {name: part.bytes for name, part in manifest.parts.items()}
    return all(name in files for name in NEEDED) and any(
        all(files.get(f"artifacts/{folder}/{name}") == size for name, size in sizes.items()) for folder in folders
    )
