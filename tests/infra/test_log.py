"""One line a record, and the failure of a step read back as what it was."""

import json
import logging

import pytest

from infra.errors import Refused
from infra.log import failure_in, log_to, record_failure


@pytest.fixture
def restored():
    """Logging as it was, whatever the test sets up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_json_line(tmp_path, restored):
    log_to(tmp_path / "log")
    logging.getLogger("tasks.train").info("ease: %d s\nand on", 3)
    logging.getLogger("somebody.else").info("is not heard")
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line) == {"level": 20, "logger": "tasks.train", "message": "ease: 3 s\nand on"}


def test_the_last_failure_after_an_offset_is_read_back(tmp_path, restored):
    path = tmp_path / "log"
    log_to(path)
    record_failure(Refused("volume fell"))
    first = path.stat().st_size
    assert failure_in(path, start=first) is None
    found = failure_in(path, start=0)
    assert isinstance(found, Refused)
    assert str(found) == "volume fell"


def test_no_log_is_no_failure(tmp_path):
    assert failure_in(tmp_path / "log", start=0) is None


def test_a_defect_keeps_its_trace(tmp_path, restored):
    log_to(tmp_path / "log")
    try:
        [][0]
    except IndexError:
        logging.getLogger("tasks").exception("A defect")
    assert "IndexError: list index out of range" in json.loads((tmp_path / "log").read_text())["trace"]
