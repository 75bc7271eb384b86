"""Records of monitoring: found again, told apart by what they were measured from, and never changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Refused
from infra.stores import FolderStore
from lineage.windows import (
    Measure,
    Window,
    evidence_key,
    get_evidence,
    get_reference,
    get_window,
    put_evidence,
    put_reference,
    put_window,
    windows,
)
from tests.lineage.history import digest

RELEASE = digest("release")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def window(day: str, **changes: Any) -> Window:
    figure = Measure(mean=0.1, sd=0.2)
    fields = {
        "release": RELEASE, "first": day, "last": day, "inputs": digest(day), "events": 5, "quarantined": 0,
        "viewers": 3, "unknown_viewers": 0.0, "unknown_videos": 0.5, "primary": "ndcg@10", "live": {"ndcg@10": figure},
        "popularity": {"ndcg@10": figure}, "gain": figure, "drift": (), "at": "2026-11-02T00:00:00.000000Z",
    }  # fmt: skip
    return Window.model_validate(fields | changes)


def test_a_window_is_found_by_release_days_and_inputs(store: FolderStore) -> None:
    one = window("2026-11-01")
    assert get_window(store, "kuairand", RELEASE, one.first, one.last, one.inputs) is None
    put_window(store, "kuairand", one)
    put_window(store, "kuairand", one.model_copy(update={"viewers": 9}))
    assert get_window(store, "kuairand", RELEASE, one.first, one.last, one.inputs) == one
    assert get_window(store, "kuairand", RELEASE, one.first, one.last, digest("corrected")) is None
    assert windows(store, "movielens") == []


def test_of_windows_that_end_on_one_day_the_last_measured_counts(store: FolderStore) -> None:
    second, first = window("2026-11-02"), window("2026-11-01")
    corrected = window("2026-11-01", inputs=digest("corrected"), at="2026-11-03T00:00:00.000000Z")
    for one in (second, corrected, first):
        put_window(store, "kuairand", one)
    assert windows(store, "kuairand") == [corrected, second]


def test_a_record_that_cannot_be_read_is_named(store: FolderStore, tmp_path: Path) -> None:
    put_window(store, "kuairand", window("2026-11-01"))
    file = next((tmp_path / "monitor").rglob("*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"viewers": "many"}))
    with pytest.raises(Refused, match=r"^The window monitor/kuairand/windows/.*json cannot be read: viewers: "):
        windows(store, "kuairand")


def test_evidence_is_named_by_its_digest_and_proven_when_read(store: FolderStore, tmp_path: Path) -> None:
    name = put_evidence(store, {"until": "2026-11-01", "windows": []})
    assert put_evidence(store, {"windows": [], "until": "2026-11-01"}) == name
    assert get_evidence(store, name) == {"until": "2026-11-01", "windows": []}
    (tmp_path / evidence_key(name)).write_text("{}")
    with pytest.raises(Refused, match=r"was changed in the store: its digest differs\.$"):
        get_evidence(store, name)
    with pytest.raises(Refused, match="is missing in the store"):
        get_evidence(store, digest("other"))


def test_a_profile_is_kept_by_snapshot_and_days(store: FolderStore) -> None:
    put_reference(store, "kuairand", digest("data"), 14, {"events": 3})
    assert get_reference(store, "kuairand", digest("data"), 14) == {"events": 3}
    assert get_reference(store, "kuairand", digest("data"), 7) is None
