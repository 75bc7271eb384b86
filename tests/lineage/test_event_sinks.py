"""Events reach the endpoint; one that is down, slow or broken costs one warning, no event and hardly any time."""

import logging
import time
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from lineage.event_sinks import CLOSE_SECONDS, Endpoint, EventFile
from lineage.openlineage import NightEvents
from tests.infra.servers import free_ports
from tests.lineage.openlineage_server import collecting, events_in, told

STEPS, LATER = ("land", "record"), ("gate", "release")
LOG = logging.getLogger("tests")


def _told(*steps: str) -> list[tuple[str, str]]:
    return [(f"films.{step}", state) for step in steps for state in ("START", "COMPLETE")]


ALL = _told(*STEPS)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "openlineage/events.ndjson"


@contextmanager
def _endpoint(url: str, file, key: SecretStr | None = None):
    """Two steps told to `url`."""
    endpoint = Endpoint(url, key, file=EventFile(file, LOG), logger=LOG)
    events = NightEvents(endpoint, name="films", flow="night", attempt="first")
    for step in STEPS:
        with events.step(step):
            pass
    yield events
    endpoint.close()


def _warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_every_event_comes_in_order_with_the_key(file, caplog):
    caplog.set_level(logging.DEBUG)
    with collecting() as server, _endpoint(server.url, file, SecretStr("very-secret")):
        pass
    assert [told(event) for event in server.events] == ALL
    assert {path for path, _, _ in server.posts} == {"/api/v1/lineage"}
    assert {headers["Authorization"] for _, headers, _ in server.posts} == {"Bearer very-secret"}
    assert not file.exists()
    assert "very-secret" not in caplog.text
    assert _warnings(caplog) == []


def test_an_address_with_a_path_is_the_whole_address(file):
    with collecting() as server, _endpoint(f"{server.url}/hooks/lineage", file):
        pass
    assert {path for path, _, _ in server.posts} == {"/hooks/lineage"}


@pytest.mark.parametrize(
    ("status", "why"), [(500, "answered 500"), (401, "answered 401"), (None, "did not answer within 1 s")]
)
def test_a_failing_endpoint_is_tried_once_and_the_file_gets_everything(file, caplog, status, why):
    with collecting(status) as server:
        started = time.monotonic()
        with _endpoint(server.url, file):
            pass
        assert time.monotonic() - started < CLOSE_SECONDS + 1
    assert len(server.posts) == 1
    assert [told(event) for event in events_in(file)] == ALL
    assert _warnings(caplog) == [f"The OpenLineage endpoint at {server.url} {why}: tonight's events go to a file"]


def test_nobody_at_the_address(file, caplog):
    (port,) = free_ports(1)
    with _endpoint(f"http://ada:very-secret@127.0.0.1:{port}?key=very-secret", file):
        pass
    assert [told(event) for event in events_in(file)] == ALL
    (warning,) = _warnings(caplog)
    assert warning.startswith(f"The OpenLineage endpoint at 127.0.0.1:{port} could not be reached (ConnectionError)")


@pytest.mark.parametrize("url", ["marquez:5000", "http://", "http://[::1"])
def test_an_address_that_is_none_costs_a_warning(file, caplog, url):
    with _endpoint(url, file):
        pass
    assert [told(event) for event in events_in(file)] == ALL
    assert len(_warnings(caplog)) == 1


def test_what_a_slow_endpoint_has_not_taken_by_the_end_goes_to_the_file(file, caplog):
    with collecting(seconds=0.9) as server:
        started = time.monotonic()
        with _endpoint(server.url, file) as events:
            for step in LATER:
                with events.step(step):
                    pass
        assert time.monotonic() - started < CLOSE_SECONDS + 1
        kept = [told(event) for event in events_in(file)]
    sent = [told(event) for event in server.events]
    expected = _told(*STEPS, *LATER)
    assert sent == expected[: len(sent)]
    assert kept == expected[-len(kept) :]
    assert len(sent) + len(kept) in (8, 9)  # the one on its way may arrive after all
    assert len(_warnings(caplog)) == 1


def test_an_endpoint_that_fails_later_has_what_came_before(file, caplog):
    with collecting() as server, _endpoint(server.url, file) as events:
        while len(server.posts) < 4:
            time.sleep(0.01)
        server.status = 503
        with events.step("release"):
            pass
    assert [told(event) for event in server.events] == [*ALL, ("films.release", "START")]
    assert [told(event) for event in events_in(file)] == [("films.release", "START"), ("films.release", "COMPLETE")]


def test_a_file_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    (tmp_path / "openlineage").write_text("no folder")
    events = NightEvents(
        EventFile(tmp_path / "openlineage/events.ndjson", LOG), name="films", flow="night", attempt="first"
    )
    with events.night():
        pass
    (warning,) = _warnings(caplog)
    assert warning.startswith("OpenLineage events cannot be written to")
