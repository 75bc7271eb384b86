"""A search on the screen, at 80 columns."""

from typing import Any

from flows.views.tune import show_tuned
from tests.flows.views.terminal import rows, seen


def trial(number: int, state: str, value: float | None) -> dict[str, Any]:
    values = {"l2": 100.0 + number, "half_life_days": None}
    return {"number": number, "state": state, "value": value, "seconds": 1.25, "values": values}


def shown(**known: Any) -> str:
    ranked = [trial(number, "complete", 0.05 - number / 1000) for number in range(1, 14)]
    trials = [*ranked, trial(0, "complete", 0.001), trial(14, "pruned", 0.01), trial(15, "fail", None)]
    tuned = {
        "candidate": "ease",
        "metric": "ndcg@10",
        "trials": trials,
        "present": 0,
        "study": "s",
        "run": "2016-10-16-1",
    }
    return seen(show_tuned, tuned | {"diff": "", "proposal": None} | known, width=80)


def test_the_ten_best_and_the_present_are_listed() -> None:
    lines = shown().splitlines()
    assert lines[0].strip() == "ease, 16 trials, 1 pruned, 1 failed, judged by validation"
    trials = rows(shown())
    assert [row[0] for row in trials] == [*map(str, range(1, 11)), "0 (present)"]
    assert trials[0] == ["1", "0.049", "1.25", "101", "null"]


def test_a_proposal_is_a_diff_and_the_command_that_takes_it() -> None:
    told = shown(diff="-  l2: [1]\n+  l2: [2]\n", proposal="/elsewhere/s.diff")
    assert "\n-  l2: [1]\n+  l2: [2]\n" in told
    assert "git apply /elsewhere/s.diff" in told
    assert "params.yaml has the best parameters already: nothing to propose." in shown()
