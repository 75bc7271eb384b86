import pytest

from models.memory import available_bytes

GB = 10**9


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Leaves the files of a control group; the machine has 4 GB."""
    monkeypatch.setattr("models.memory.CONTAINER", tmp_path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 4 * GB}))

    def limited(limit, *, used=GB, stat="anon 5\ninactive_file 1000"):
        for name, text in (("memory.max", limit), ("memory.current", used), ("memory.stat", stat)):
            (tmp_path / name).write_text(f"{text}\n")

    return limited


def test_without_a_container_it_is_what_the_machine_has(container):
    assert available_bytes() == 4 * GB


def test_a_containers_limit_counts_less_what_it_holds_but_for_pages_of_files(container):
    container(3 * GB)
    assert available_bytes() == 2 * GB + 1000


def test_a_limit_above_the_machines_memory_is_none(container):
    container(90 * GB)
    assert available_bytes() == 4 * GB


@pytest.mark.parametrize("limit", ["max", "", "lots"])
def test_a_container_without_a_limit_is_none(container, limit):
    container(limit)
    assert available_bytes() == 4 * GB
