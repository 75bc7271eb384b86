"""What `trace` tells of one release, exactly."""

from pathlib import Path
from typing import Any

import pytest

from infra.errors import BadInput, Refused
from lineage.trace import trace
from tests.lineage.history import NAME, VERDICT, History, Night, digest, uri

ONE = Night(days=(("2026-01-01", 1),), users=(1, 2))
TWO = Night(days=(("2026-01-01", 1), ("2026-01-02", 1)), users=(1,), passed=False)


def trace_in(history: History, release: str) -> dict[str, Any]:
    return trace(release, ledger=history.ledger, releases=history.releases, store=history.store)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Night 1 goes live, night 2 is refused, overridden, and rolled back from."""
    history = History(tmp_path)
    first, second = history.night(ONE), history.night(TWO)
    history.enter("override", second.release)
    history.enter("rollback", first.release)
    return history


def test_everything_of_a_live_release(history: History) -> None:
    (record, other) = history.runs
    traced = trace_in(history, record.release[:9])
    entries = list(history.ledger.entries())
    assert traced["release"] == record.release
    assert (traced["name"], traced["live"], traced["retired"]) == (NAME, True, False)
    assert traced["entries"] == [
        entries[0].model_dump() | {"until": entries[1].at, "until_seq": 2},
        entries[2].model_dump() | {"until": None, "until_seq": None},
    ]
    assert traced["verdict"] == VERDICT
    assert traced["manifest"]["code"] == ONE.code_commit
    assert traced["manifest"]["environment"] == {"lock": "b" * 64, "python": "3.11.9"}
    assert traced["manifest"]["parts"] == 11
    (night,) = traced["nights"]
    assert night["landed"] == [
        {
            "table": "events",
            "file": f"{digest('landed 2026-01-01 1')}.parquet",
            "sha256": digest("landed 2026-01-01 1"),
            "bytes": 9,
            "first_rows": 3,
            "days": ["2026-01-01"],
            "landed_at": "2026-01-01T02:00:00+00:00",
            "origins": [
                {
                    "uri": uri("2026-01-01"),
                    "bytes": 7,
                    "sha256": digest("source 2026-01-01 1"),
                    "etag": "e-2026-01-01-1",
                }
            ],
        }
    ]
    known = {key: night[key] for key in ("run", "ref", "mlflow_run", "commit", "code", "clean", "snapshot", "indexed")}
    assert known == {
        "run": record.run,
        "ref": f"refs/nightreel/runs/{record.run}",
        "mlflow_run": record.run,
        "commit": record.commit,
        "code": ONE.code_commit,
        "clean": True,
        "snapshot": record.snapshot,
        "indexed": True,
    }
    assert night["quarantined"] == {"events: rating is NaN or infinite": 2}
    assert night["packages"] == {"NumPy": "2.4.0", "python_dateutil": "2.9"}
    assert traced["snapshot"] == {"data/accepted/events.parquet": {"sha256": digest(str(ONE)), "bytes": 3, "rows": 3}}
    assert other.release not in str(traced)


def test_stages_come_last_first_with_digests(history: History) -> None:
    stages = trace_in(history, history.runs[0].release)["stages"]
    assert stages == [
        {
            "stage": "prepare",
            "cmd": "python -m tasks.prepare",
            "params": {"params.yaml": {"seed": 1}},
            "deps": [{"path": "data/accepted", "md5": "aa.dir", "size": 5}],
            "outs": [{"path": "data/prepared", "md5": "bb.dir", "size": 6}],
        },
        {
            "stage": "validate",
            "cmd": "python -m tasks.validate",
            "params": {},
            "deps": [],
            "outs": [{"path": "data/accepted", "md5": "aa.dir", "size": 5}],
        },
    ]


def test_an_override_and_its_end_stand_in_the_entries(history: History) -> None:
    traced = trace_in(history, history.runs[1].release)
    (entry,) = traced["entries"]
    assert (entry["action"], entry["expires"], entry["until_seq"]) == ("override", "2026-12-31", 3)
    assert (traced["live"], traced["verdict"]["passed"]) == (False, False)


def test_a_release_of_several_nights_lists_each_newest_first(history: History) -> None:
    again = history.night(ONE)
    assert again.release == history.runs[0].release
    nights = trace_in(history, again.release)["nights"]
    assert [night["run"] for night in nights] == [again.run, history.runs[0].run]


def test_of_a_retired_release_the_books_are_left(history: History) -> None:
    history.erase(1)
    traced = trace_in(history, history.runs[0].release)
    assert traced["retired"] is True
    assert (traced["verdict"], traced["stages"], traced["snapshot"]) == (None, None, None)
    assert [night["indexed"] for night in traced["nights"]] == [False]
    assert [entry["seq"] for entry in traced["entries"]] == [1, 3]


def test_a_release_without_a_record_has_no_nights(history: History) -> None:
    for key in list(history.store.keys("runs/")):
        (history.root / "store" / key).unlink()
    traced = trace_in(history, history.runs[0].release)
    assert (traced["nights"], len(traced["entries"])) == ([], 2)


def test_an_id_that_is_of_none_or_of_several(history: History) -> None:
    with pytest.raises(BadInput, match=r"^No release of movielens with an id that starts so\. Received: 'xyz'$"):
        trace_in(history, "xyz")
    with pytest.raises(BadInput, match=r"^Several releases of movielens with an id that starts so\. Received: ''$"):
        trace_in(history, "")


def test_a_damaged_release_is_refused(history: History) -> None:
    manifest = history.releases.manifest(history.runs[0].release)
    sha = manifest.parts["record/verdict.json"].sha256
    (history.root / "store/blobs/sha256" / sha[:2] / sha).write_bytes(b"{}")
    with pytest.raises(Refused, match=r"record/verdict\.json differs"):
        trace_in(history, history.runs[0].release)
