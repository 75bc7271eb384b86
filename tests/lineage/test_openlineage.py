"""Events as OpenLineage defines them, made of plain facts."""

import json
import threading
from pathlib import Path

import jsonschema
import pytest

from infra.errors import Refused
from lineage.event_sinks import EventFile
from lineage.openlineage import Data, NightEvents, Quality
from tests.lineage.openlineage_server import events_in, told, versions

SCHEMA = Path(__file__).parents[2] / "docs/openlineage-verdict.json"
RAW = Data("films/data/raw", "aa.dir", "dvc", "file:///cache")
CHECK = {"name": "primary", "challenger": 0.1, "champion": None, "bound": 0.2, "passed": False, "reason": "worse"}
VERDICT = {
    "passed": False,
    "challenger": "ease",
    "champion": None,
    "against": "popularity",
    "checks": [{**CHECK, "name": "figures", "passed": True}, CHECK],
    "failed_candidates": [],
}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "openlineage/events.ndjson"


def _night(file: Path, *, attempt: str = "first", logger=None) -> NightEvents:
    return NightEvents(EventFile(file, logger), name="films", flow="night", attempt=attempt)


def test_a_step_starts_and_completes_inside_its_night(file):
    events = _night(file)
    with events.night():
        events.run = "2016-10-16-46ada14df3a7"
        with events.step("validate", reads=[RAW]) as step:
            step.outputs = [Data("films/data/accepted", "bb.dir", "dvc", "file:///cache")]
    night, start, complete, end = events_in(file)
    assert [told(event) for event in (night, start, complete, end)] == [
        ("films.night", "START"),
        ("films.validate", "START"),
        ("films.validate", "COMPLETE"),
        ("films.night", "COMPLETE"),
    ]
    assert {event["job"]["namespace"] for event in (night, start, complete, end)} == {"nightreel"}
    parent = start["run"]["facets"]["parent"]
    assert (parent["run"]["runId"], parent["job"]["name"]) == (night["run"]["runId"], "films.night")
    assert start["run"]["runId"] == complete["run"]["runId"] != night["run"]["runId"] == end["run"]["runId"]
    assert night["run"]["facets"] == {}
    (tag,) = complete["run"]["facets"]["tags"]["tags"]
    assert (tag["key"], tag["value"]) == ("nightreel.run", "2016-10-16-46ada14df3a7")
    assert (versions(start["inputs"]), start["outputs"]) == ({"films/data/raw": "aa.dir"}, [])
    assert versions(complete["inputs"]) == {"films/data/raw": "aa.dir"}
    assert versions(complete["outputs"]) == {"films/data/accepted": "bb.dir"}


def test_a_dataset_tells_its_source_its_columns_and_how_whole_it_is(file):
    tables = {"events": {"user_id": "int64", "liked": "bool"}, "videos": {"video_id": "int64"}}
    quality = Quality(rows=10, bytes=500, nulls={"user_id": 0, "liked": 3})
    with _night(file).step("validate") as step:
        step.outputs = [Data("films/data/accepted", "bb.dir", "dvc", "s3://b/dvc", tables=tables, quality=quality)]
    (dataset,) = events_in(file)[-1]["outputs"]
    facets = dataset["facets"]
    assert (dataset["namespace"], dataset["name"]) == ("nightreel", "films/data/accepted")
    assert facets.keys() == {"version", "dataSource", "schema", "dataQualityMetrics"}
    assert (facets["dataSource"]["name"], facets["dataSource"]["uri"]) == ("dvc", "s3://b/dvc")
    columns = [
        {"name": "user_id", "type": "int64", "ordinal_position": 1},
        {"name": "liked", "type": "bool", "ordinal_position": 2},
    ]
    video = {"name": "video_id", "type": "int64", "ordinal_position": 1}
    assert facets["schema"]["fields"] == [
        {"name": "events", "type": "table", "fields": columns},
        {"name": "videos", "type": "table", "fields": [video]},
    ]
    metrics = facets["dataQualityMetrics"]
    assert (metrics["rowCount"], metrics["bytes"]) == (10, 500)
    assert metrics["columnMetrics"] == {"user_id": {"nullCount": 0}, "liked": {"nullCount": 3}}


def test_a_failure_tells_its_sentence_and_is_raised(file):
    with pytest.raises(Refused, match="not fit"), _night(file).step("validate", reads=[RAW]):
        raise Refused("The data is not fit to train on")
    failed = events_in(file)[-1]
    assert told(failed) == ("films.validate", "FAIL")
    error = failed["run"]["facets"]["errorMessage"]
    assert (error["message"], error["programmingLanguage"]) == ("The data is not fit to train on", "python")
    assert (versions(failed["inputs"]), failed["outputs"]) == ({"films/data/raw": "aa.dir"}, [])


def test_an_interrupted_step_has_failed_too(file):
    with pytest.raises(KeyboardInterrupt), _night(file).step("train@ease"):
        raise KeyboardInterrupt
    assert events_in(file)[-1]["run"]["facets"]["errorMessage"]["message"] == "KeyboardInterrupt"


def test_the_verdict_is_a_facet_of_its_own_schema(file):
    with _night(file).step("gate") as step:
        step.verdict = VERDICT
    facet = events_in(file)[-1]["run"]["facets"]["nightreel_verdict"]
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(facet)
    assert facet.pop("_schemaURL") == schema["$id"]
    assert facet == {
        "_producer": "urn:nightreel:night",
        "passed": False,
        "challenger": "ease",
        "against": "popularity",
        "failed": [{"name": "primary", "reason": "worse", "challenger": 0.1, "bound": 0.2}],
    }


def test_each_time_and_each_attempt_is_a_run_of_its_own_and_the_same_one_again(tmp_path):
    def runs(attempt: str) -> list[str]:
        file = tmp_path / f"{attempt}-{len(list(tmp_path.iterdir()))}.ndjson"
        events = _night(file, attempt=attempt)
        for _ in range(2):
            with events.step("gate"):
                pass
        return [event["run"]["runId"] for event in events_in(file)[::2]]

    first = runs("first")
    assert len({*first, *runs("second")}) == 4
    assert runs("first") == first


def test_steps_in_threads_leave_whole_lines(file):
    events = _night(file)

    def work(candidate: str) -> None:
        for _ in range(20):
            with events.step(f"train@{candidate}", reads=[RAW] * 200):
                pass

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ease", "sasrec")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = events_in(file)
    assert len(found) == 80
    assert len({event["run"]["runId"] for event in found}) == 40
