"""What S3's events and a source's listing tell of partitions that no night has landed."""

import json
import re
from datetime import date
from pathlib import Path

import pytest

from infra.errors import BadInput
from infra.settings import Settings
from infra.stores import open_store
from lineage.runs import LandedFile, OriginFile, RunRecord
from tasks.events import created
from tasks.readers.files import Files
from tasks.unlanded import batch_id, told_of_new, unlanded

TODAY = date(2026, 11, 22)


def source(folder: Path, *days: str) -> Path:
    for day in days:
        (folder / f"events/{day}").mkdir(parents=True)
        (folder / f"events/{day}/part-0.csv").write_text("user_id,video_id,timestamp\n1,1,1\n")
    (folder / "videos.csv").write_text("video_id\n1\n")
    return folder


def record(*origins: OriginFile) -> RunRecord:
    part = LandedFile(
        table="events", file="x", sha256="0" * 64, bytes=1, first_rows=1, days=(), origins=origins, landed_at=None
    )
    facts = {"name": "files", "run": "2026-11-21-x", "commit": "0" * 40, "code": "0" * 40, "clean": True}
    facts |= {"as_of": "2026-11-21", "snapshot": "0" * 64, "quarantined": {}, "packages": {}, "candidate": "ease"}
    facts |= {"verdict": None, "release": None, "model_version": None, "at": "2026-11-21T02:00:00Z"}
    return RunRecord.model_validate(facts | {"landed": (part,)})


def test_partitions_that_no_night_landed_are_new_and_those_of_later_days_wait(tmp_path: Path) -> None:
    reader = Files(str(source(tmp_path, "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23")), Settings())
    first, second, third = unlanded(reader, [], today=TODAY)
    assert [str(file.day) for file in (first, second, third)] == ["2026-11-20", "2026-11-21", "2026-11-22"]
    known = [OriginFile(uri=file.uri, bytes=file.bytes, sha256="0" * 64, etag=None) for file in (first, second)]
    assert unlanded(reader, [record(*known)], today=TODAY) == [third]
    Path(second.uri).write_text("user_id,video_id,timestamp\n1,1,10\n")  # corrected
    corrected, _ = unlanded(reader, [record(*known)], today=TODAY)
    assert corrected.uri == second.uri


def test_one_set_of_files_has_one_name_in_any_order(tmp_path: Path) -> None:
    files = unlanded(Files(str(source(tmp_path, "2026-11-20", "2026-11-21")), Settings()), [], today=TODAY)
    assert batch_id(files) == batch_id(files[::-1])
    assert batch_id(files) != batch_id(files[:1])


def event(key: str, etag: str, *, what: str = "ObjectCreated:Put") -> str:
    thing = {"bucket": {"name": "logs"}, "object": {"key": key, "size": 4, "eTag": etag, "sequencer": "0A"}}
    return json.dumps({"Records": [{"eventVersion": "2.3", "eventName": what, "s3": thing}]})


LINES = (
    json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}),
    event("app/events/2026-11-21/part+one.csv", "a"),
    event("app/events/2026-11-22/x.csv", "b"),
    event("app/events/2026-11-22/x.csv", "c"),
    event("app/events/2026-11-20/y.csv", "d"),
    event("app/events/2026-11-20/y.csv", "d", what="ObjectRemoved:Delete"),
)
CREATED = {"s3://logs/app/events/2026-11-21/part one.csv": "a", "s3://logs/app/events/2026-11-22/x.csv": "c"}


def test_events_are_read_from_lines_of_a_file_and_from_objects(store_url: str, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("\n".join(LINES) + "\n\n")
    assert created(str(tmp_path / "events.jsonl"), Settings()) == CREATED
    if store_url.startswith("s3://"):
        store = open_store(store_url, Settings())
        for number, line in enumerate(LINES):
            store.put_if_absent(f"{number}.json", line.encode())
        assert created(store_url, Settings()) == CREATED


def test_events_tell_of_something_new_until_a_night_has_landed_it() -> None:
    landed = [OriginFile(uri=uri, bytes=4, sha256="0" * 64, etag=f'"{etag}"') for uri, etag in CREATED.items()]
    assert told_of_new(CREATED, [], location="s3://logs/app")
    assert told_of_new(CREATED, [record(landed[0])], location="s3://logs/app/")
    assert not told_of_new(CREATED, [record(*landed)], location="s3://logs/app")
    assert not told_of_new(CREATED, [], location="s3://logs/ap")


@pytest.mark.parametrize("line", ["no json", '{"Records": [{"eventName": "ObjectCreated:Put"}]}', "[]"])
def test_what_is_no_notification_is_refused_with_its_place(line: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(line)
    said = f"{file} must hold S3 event notifications, one JSON object a line. Received: {line!r}"
    with pytest.raises(BadInput, match=f"^{re.escape(said)}$"):
        created(str(file), Settings())
    with pytest.raises(BadInput, match="cannot be used: No such file or directory"):
        created(str(tmp_path / "none"), Settings())
