"""What `impact` tells of one thing, exactly; and what cannot be asked."""

from pathlib import Path
from typing import Any

import pytest

from infra.errors import BadInput
from infra.settings import Settings
from infra.stores import open_store
from lineage.canonical import sha256
from lineage.impact import Query, impact
from lineage.ledger import Ledger
from lineage.runs import put_record
from lineage.snapshots import put_index, write_index
from tests.lineage.history import NAME, History, Night, digest, landed, series, uri

ONE = Night(days=(("2026-01-01", 1),), users=("ann",), videos=("v1",), numpy="2.4.0")
TWO = Night(days=(("2026-01-01", 1), ("2026-01-02", 1)), users=("ann", "bob"), videos=("v1",), passed=False)
THREE = Night(days=(("2026-01-01", 2), ("2026-01-02", 1)), users=("bob",), videos=("v2",), code=1, numpy="2.4.1")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Nights 1 and 3 go live, night 2 is refused; then night 1's release again."""
    history = History(tmp_path)
    for night in (ONE, TWO, THREE):
        history.night(night)
    history.enter("rollback", history.runs[0].release)
    return history


def ask(history: History, kind: Any, text: str) -> dict[str, Any]:
    return impact(Query.of(kind, text), ledger=history.ledger, store=history.store)


def nights(history: History, kind: Any, text: str) -> list[int]:
    """Numbers of the nights that a thing reached, from 1."""
    runs = [record.run for record in history.runs]
    return [runs.index(night["run"]) + 1 for night in ask(history, kind, text)["nights"]]


def test_a_viewer_reached_these_snapshots_versions_releases_and_intervals(history: History) -> None:
    one, two, three = history.runs
    entries = list(history.ledger.entries())
    assert ask(history, "user", "ann") == {
        "name": NAME,
        "query": {"kind": "user", "value": "ann", "also": []},
        "nights": [
            record.model_dump(mode="json", exclude={"landed", "packages", "quarantined"}) for record in (one, two)
        ],
        "snapshots": [one.snapshot, two.snapshot],
        "model_versions": ["1", "2"],
        "releases": [
            {
                "release": one.release,
                "candidate": "ease",
                "as_of": "2026-01-01",
                "passed": True,
                "runs": [one.run],
                "model_versions": ["1"],
                "live": True,
                "retired": False,
                "ended": None,
                "intervals": [
                    entries[0].model_dump() | {"until": entries[1].at, "until_seq": 2},
                    entries[2].model_dump() | {"until": None, "until_seq": None},
                ],
            },
            {
                "release": two.release,
                "candidate": "ease",
                "as_of": "2026-01-02",
                "passed": False,
                "runs": [two.run],
                "model_versions": ["2"],
                "live": False,
                "retired": False,
                "ended": None,
                "intervals": [],
            },
        ],
        "unindexed": [],
        "unrecorded": [],
    }
    assert [release["live"] for release in ask(history, "user", "bob")["releases"]] == [False, False]
    assert three.release == entries[1].release


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("file", uri("2026-01-01"), [1, 2, 3]),
        ("file", landed("2026-01-01", 1).file, [1, 2]),
        ("file", landed("2026-01-01", 2).sha256, [3]),
        ("file", digest("source 2026-01-02 1"), [2, 3]),
        ("file", '"e-2026-01-01-2"', [3]),
        ("file", "events", []),
        ("user", "bob", [2, 3]),
        ("user", "eve", []),
        ("video", "v1", [1, 2]),
        ("day", "2026-01-02", [2, 3]),
        ("day", "20260102", [2, 3]),
        ("day", "2026-01-03", []),
        ("commit", ONE.code_commit, [1, 2]),
        ("commit", THREE.code_commit[:7].upper(), [3]),
        ("commit", digest("run 2")[:12], [2]),
        ("commit", "0" * 40, []),
        ("package", "numpy==2.4.1", [3]),
        ("package", "python.dateutil==2.9", [1, 2, 3]),
        ("package", "numpy==2.4", []),
    ],
)
def test_which_nights_a_thing_reached(history: History, kind: str, text: str, found: list[int]) -> None:
    assert nights(history, kind, text) == found


def test_a_file_is_found_by_a_relative_path_and_by_a_copy_of_its_bytes(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = history.runs[0]
    (part,) = record.landed
    (origin,) = part.origins
    renamed = origin.model_copy(update={"uri": str(tmp_path.resolve() / "day.csv"), "sha256": sha256(b"rows")})
    moved = part.model_copy(update={"origins": (renamed,)})
    put_record(history.store, record.model_copy(update={"run": "other", "landed": (moved,)}))
    for name, text in {"copy.csv": "rows", "else.csv": "others"}.items():
        (tmp_path / name).write_text(text)
    found = {
        text: [n["run"] for n in ask(history, "file", text)["nights"]] for text in ("day.csv", "copy.csv", "else.csv")
    }
    assert found == {"day.csv": ["other"], "copy.csv": ["other"], "else.csv": []}


def test_what_the_answer_cannot_know_is_said(history: History) -> None:
    history.erase("ann")
    gone = [record.snapshot for record in history.runs[:2]]
    found = ask(history, "user", "bob")
    assert [release["release"] for release in found["releases"]] == [history.runs[2].release]
    assert found["unindexed"] == gone
    assert ask(history, "day", "2026-01-02")["unindexed"] == []
    (history.root / "store" / history.runs[2].key).unlink()
    assert ask(history, "day", "2026-01-02")["unrecorded"] == [history.runs[2].release]


def test_a_retired_release_is_still_told_of(history: History) -> None:
    history.erase("ann")
    told = {release["release"]: release["retired"] for release in ask(history, "day", "2026-01-02")["releases"]}
    assert told == {history.runs[1].release: True, history.runs[2].release: False}


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        ("day", "yesterday", "--day is a date such as 2016-10-16. Received: 'yesterday'"),
        ("commit", "abcdef", "--commit is at least 7 hexadecimal digits of a commit. Received: 'abcdef'"),
        ("commit", "HEAD~1234", "--commit is at least 7 hexadecimal digits of a commit. Received: 'HEAD~1234'"),
        ("package", "numpy", "--package is NAME==VERSION, such as numpy==2.4.0. Received: 'numpy'"),
        ("user", "", "--user must name something. Received: nothing"),
    ],
)
def test_what_cannot_be_asked(kind: Any, text: str, sentence: str) -> None:
    with pytest.raises(BadInput) as told:
        Query.of(kind, text)
    assert str(told.value) == sentence


def test_the_same_on_a_folder_and_on_s3(history: History, store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url, Settings())
    for key in history.store.keys(""):
        if key.startswith(("runs/", "ledgers/")):
            store.put_if_absent(key, history.store.get(key))
    for record, night in zip(history.runs, (ONE, TWO, THREE), strict=True):
        write_index(series(night.users), series(night.videos), tmp_path / record.run)
        put_index(store, NAME, record.snapshot, tmp_path / record.run)
    for kind, text in (("user", "bob"), ("video", "v1"), ("day", "2026-01-02")):
        query = Query.of(kind, text)
        assert impact(query, ledger=Ledger(store, NAME), store=store) == ask(history, kind, text)
