"""`nightreel regions`: of the newest night, in a table and a picture, whatever regions are called."""

import json
import os

import matplotlib.image
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.regions import describe_regions, newest_regions
from flows.views.regions import show_regions
from infra.errors import BadInput
from infra.settings import Settings
from tasks.params import Regions
from tasks.regions import regions
from tests.flows.views.terminal import rows, seen
from tests.tasks.test_regions import ODD, accept, log

FLOW = {"hour": 9, "from": "[b]a\n", "to": "x" * 60, "steps": 1234}
SPOT = {"hour": 0, "region": "b", "visits": 83, "expected": 19.04, "residual": 15.84, "hot": True, "events": 90}
COUNTS = {"regions": 3, "events": 7142, "steps": 5502, "moves": 1022, "hot_spots": 1, "viewers": 300}
KNOWN = {"run": "2024-06-30-abc", **COUNTS, "viewers_with_vector": 299, "flows": [FLOW], "hottest": [SPOT]}


def leave_night(home, run, table, *, name="files", at=0):
    """A night's checkout as far as this command looks at it, finished at `at`."""
    checkout = home / "runs" / run / "checkout"
    accepted, prepared = accept(checkout / "data", table)
    metrics = checkout / "metrics/regions.json"
    regions(accepted, prepared, checkout / "data/regions", metrics, params=Regions())
    (checkout / "data/landed.json").write_text(json.dumps({"name": name}))
    os.utime(metrics, (at, at))
    return checkout


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_HOME", str(tmp_path))
    return tmp_path


def test_names_stay_on_one_line_and_are_no_markup():
    printed = seen(show_regions, KNOWN)
    assert rows(printed) == [
        ["09 h", "[b]a�", "x" * 27 + "…", "1,234"],
        ["00 h", "b", "83", "19.0", "+15.8"],
    ]
    assert "steps      5,502, of which 4,480 stay in their region" in printed


def test_a_night_without_regions_says_so():
    assert seen(show_regions, KNOWN | {"regions": 0}) == "The events of run 2024-06-30-abc have no region."


def test_the_newest_night_of_the_name_is_shown(home):
    new = leave_night(home, "2024-06-29-a", log(), at=9)
    old = leave_night(home, "2024-06-30-b", log(), at=3)
    other = leave_night(home, "2024-06-30-c", log(), name="feed", at=5)
    found = [newest_regions(Settings(), name) for name in (None, "files", "feed")]
    assert found == [new, new, other]
    (new / "data/regions/hot_spots.parquet").unlink()  # erased since
    assert newest_regions(Settings(), "files") == old
    with pytest.raises(BadInput, match=r"No night of mine in .* has looked at regions"):
        newest_regions(Settings(), "mine")


def test_flows_are_moves_and_the_strongest_come_first(home):
    told = describe_regions(leave_night(home, "2024-06-30-a", log()))
    steps = [flow["steps"] for flow in told["flows"]]
    assert (sum(steps), steps) == (told["moves"], sorted(steps, reverse=True))
    assert all(flow["from"] != flow["to"] for flow in told["flows"])
    assert (told["run"], told["hottest"], told["hot_spots"]) == ("2024-06-30-a", [], 0)


def test_the_command_prints_json_and_leaves_a_picture(home):
    leave_night(home, "2024-06-30-a", log())
    done = CliRunner().invoke(app, ["regions", "--json", "--plot", str(home / "heat.png")])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {flow["from"] for flow in told["flows"]} == set(ODD)
    picture = matplotlib.image.imread(home / "heat.png")
    assert picture.shape[1] == 13 * 110
    assert len({tuple(pixel) for pixel in picture[:, :900, :3].reshape(-1, 3).round(1)}) > 10


@pytest.mark.parametrize(
    ("table", "plot", "sentence"),
    [
        (log(), "heat.html", "--plot must end in .png. Received: "),
        (log(), "nowhere/heat.png", "cannot be used: No such file or directory"),
        (log().drop("region"), "heat.png", "There is nothing to plot: the events of run 2024-06-30-a have no region."),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(home, table, plot, sentence):
    leave_night(home, "2024-06-30-a", table)
    done = CliRunner().invoke(app, ["regions", "--plot", str(home / plot)])
    assert isinstance(done.exception, BadInput)
    assert sentence in str(done.exception)
