"""`audit report`: the page about a release, written to a file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.live import Live
from infra.disk import arriving, disk_errors
from infra.git import project_root
from lineage.canonical import sha256
from lineage.report import report


def write_report(live: Live, release: str, path: Path) -> dict[str, Any]:
    """Write the page about `release` to `path`, in place of what is there; where it is, and its digest.

    Raises:
        BadInput: no release starts so, or the file cannot be written.
        Refused: the release is damaged, or the ledger does not hold.
    """
    page = report(release, books=live.books, repository=project_root(), at=datetime.now(UTC)).encode()
    with disk_errors(path), arriving(path) as file:
        file.write(page)
    return {"report": str(path.resolve()), "bytes": len(page), "sha256": sha256(page)}
