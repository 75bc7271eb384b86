"""`audit verify`: everything of one release, or of all, proven again from the bytes."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from flows.live import Live
from infra.dvc_objects import DvcObjects
from infra.errors import NightreelError
from infra.git import project_root
from lineage.ledger import Entry
from lineage.prefix import release_by_prefix
from lineage.runs import RunRecord, examined
from lineage.verify import Finding, verify_chain, verify_index, verify_records, verify_release
from lineage.verify_approvals import verify_approvals
from lineage.verify_data import Kept, verify_alias, verify_landed, verify_run
from lineage.verify_erasures import verify_erasures, verify_holds, verify_retirement
from tasks.erase_landed import replaced_files
from tasks.landing import landing_folder

ALL = "all"


class Verification(BaseModel):
    """How much was looked at, by whose key it is signed, and all that does not hold."""

    model_config = ConfigDict(frozen=True)

    name: str
    releases: int
    nights: int
    entries: int
    signature: str
    findings: tuple[Finding, ...]


def verify(live: Live, release: str) -> Verification:
    """Prove the release whose id starts with `release` and its nights, or `all`; and the ledger in any case.

    Raises:
        BadInput: no release starts so, or several do.
    """
    books = live.books
    entries, records = list(books.ledger.examined()), list(examined(books.store, books.name))
    readable = [record for _, record in records if isinstance(record, RunRecord)]
    named = {record.release for record in readable if record.release}
    known = sorted(named | {entry.release for _, entry in entries if isinstance(entry, Entry)})
    chosen = known if release == ALL else [release_by_prefix(release, known, where=f"of {live.name}")]
    nights = [record for record in readable if record.release in chosen]
    findings = (
        *verify_chain(books, entries),
        *verify_records(books, records),
        *verify_erasures(books),
        *verify_holds(books),
        *verify_approvals(books),
        *(finding for one in chosen for finding in (*verify_release(books, one), *verify_retirement(books, one))),
        *_data(live, nights),
        *verify_alias(books, live.registry),
    )
    return Verification(
        name=live.name,
        releases=len(chosen),
        nights=len(nights),
        entries=len(entries),
        signature="; ".join(sorted({live.signature(one) for one in chosen})),
        findings=findings,
    )


def _data(live: Live, nights: list[RunRecord]) -> Iterator[Finding]:
    books, objects, root = live.books, Kept(DvcObjects(live.settings)), project_root()
    kept = [record for record in nights if record.release and not books.releases.is_retired(record.release)]
    for record in kept:
        try:
            yield from verify_run(books, record, objects, root=root)
            yield from verify_index(books, record)
        except NightreelError as error:  # a damaged release cannot say what its data should be
            yield Finding(kind="run", what=record.run, fault=str(error))
    folder = landing_folder(live.settings, live.name)
    yield from verify_landed(folder, kept, replaced=replaced_files(folder))
