from pathlib import Path

import pytest
import yaml

from infra.git import git
from tasks.params import parse_params
from tasks.proposal import proposal
from tests.flows.project import SMALL

OURS = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
DUMPED = yaml.safe_dump(yaml.safe_load(OURS) | SMALL, sort_keys=False)
INDENTED = "# mine\ncandidates:\n    - ease   # alone\n    - 'sasrec'\n\ntrain:\n    ease:\n        l2: 250.0 # why\n"
BARE = "candidates: [ease]"  # no section, and no end of line


def applied(text, diff, folder):
    """`text` with `diff`, by git."""
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    (folder / "proposal.diff").write_text(diff, encoding="utf-8")
    git("init", "-q", at=folder)
    git("apply", "proposal.diff", at=folder)
    return (folder / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [OURS, DUMPED, INDENTED, BARE], ids=["ours", "dumped", "indented", "bare"])
@pytest.mark.parametrize(
    ("candidate", "values"),
    [
        ("ease", {"l2": 437.8}),
        ("ease", {"l2": 1.0, "half_life_days": 30.0}),
        ("sasrec", {"learning_rate": 1e-5, "dim": 128}),
        ("hybridcf", {"weight": 0.31, "items.neighbours": 12, "half_life_days": None}),
        ("gru4rec", {"cell": "lstm"}),
        ("content", {"centre": False}),
    ],
)
def test_the_diff_applies_and_sets_these_values_alone(text, candidate, values, tmp_path):
    wanted = yaml.safe_load(text)
    for field, value in values.items():
        *above, name = ["train", candidate, *field.split(".")]
        below = wanted
        for part in above:
            below = below.setdefault(part, {})
        below[name] = value
    got = yaml.safe_load(applied(text, proposal(text, candidate, values), tmp_path))
    assert got == wanted
    assert parse_params(got, where="here") == parse_params(wanted, where="here")


def test_it_changes_one_line_and_no_comment():
    lines = proposal(OURS, "popularity", {"half_life_days": 30.0}).splitlines()
    comment = "# ratings of 21 years, judged by each viewer's own last: age says little"
    assert [line for line in lines[2:] if line[0] in "+-"] == [
        f"-  popularity: {{half_life_days: null}}  {comment}",
        f"+  popularity: {{half_life_days: 30.0}}  {comment}",
    ]
    changed = [line for line in proposal(INDENTED, "ease", {"l2": 99.5}).splitlines()[2:] if line[0] in "+-"]
    assert changed == ["-        l2: 250.0 # why", "+        l2: 99.5  # why"]


def test_nothing_to_change_is_no_diff():
    assert proposal(OURS, "ease", {}) == ""
