import io
from pathlib import Path

import matplotlib
import pytest

from infra.errors import BadInput
from tasks.cost_plots import picture_kind, plot_costs

COSTS = {"seconds": "training, s", "peak_megabytes": "memory, MB", "joules": "energy, J", "milliseconds": "ms"}


def row(candidate, quality, **marks):
    return {
        "candidate": candidate,
        "primary": "ndcg@10",
        "ndcg@10": quality,
        "low": quality - 0.01,
        "high": quality + 0.01,
        "confidence": 0.9,
        "viewers": 6710,
        "seconds": 0.0,  # what takes less than a millisecond is drawn too
        "peak_megabytes": 812.3,
        "joules": 12.3,
        "milliseconds": 0.5,
        "front": False,
        "challenger": False,
        **marks,
    }


BOARD = [row("ease", 0.05, front=True, challenger=True), row("ials", 0.04), row("popularity", 0.03, front=True)]


def test_each_candidate_each_cost_and_what_the_figure_is_are_named():
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters as letters
        plot_costs(BOARD, COSTS, file, kind="svg")
    text = file.getvalue().decode()
    told = ["1 ease, the challenger", "2 ials", "3 popularity", "on the Pareto front", "beaten"]
    told += ["ndcg@10 and 90% interval, 6,710 viewers", *(f"{called} (logarithmic)" for called in COSTS.values())]
    assert [words for words in told if f">{words}<" not in text] == []


@pytest.mark.parametrize(("kind", "starts"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_it_is_of_the_kind_that_was_asked_for(kind, starts):
    file = io.BytesIO()
    plot_costs(BOARD[:1], COSTS, file, kind=kind)
    assert file.getvalue().startswith(starts)


def test_the_name_says_the_kind_and_another_is_refused():
    assert [picture_kind(Path(name)) for name in ("a.png", "b.c.SVG")] == ["png", "svg"]
    for name in ("out.gif", "out"):
        with pytest.raises(BadInput, match=rf"ends in \.png, \.svg, \.pdf\. Received: '{name}'"):
            picture_kind(Path(name))
