"""Candidates beside each other, as wide as the terminal."""

from flows.views.leaderboard import show_leaderboard
from tests.flows.views.terminal import rows, seen


def test_a_leaderboard_fits_and_names_its_units() -> None:
    measured = {  # in the order of a metrics file
        "coverage@10": 0.0934,
        "ndcg@10": 0.0434,
        "recall@10": 0.0801,
        "hit@10": 0.0801,
        "mrr@10": 0.0324,
        "map@10": 0.0324,
        "novelty@10": 8.1234,
        "popularity_bias@10": 3.2,
        "diversity@10": 0.71,
    }
    costs = {"seconds": 1.23, "peak_megabytes": 812.3, "joules": 12.34, "milliseconds": 0.52, "megabytes": 10.2}
    marks = {"front": True, "challenger": False}
    row = {
        "primary": "ndcg@10",
        **marks,
        **measured,
        "low": 0.031,
        "high": 0.056,
        "confidence": 0.9,
        **costs,
        "viewers": 6710,
    }
    board = [
        row | {"candidate": name, "split_digest": "d" * 64} for name in ("ease", "itemknn", "sasrec", "popularity")
    ]
    board[0] |= {"challenger": True}
    board[1] |= {"front": False}
    printed = seen(show_leaderboard, [*board, {"candidate": "other", "failed": "loss was [NaN]"}])
    assert "6,710 viewers, split dddddddddddd" in printed
    assert printed.index("ease") < printed.index("itemknn") < printed.index("popularity")
    found = {name: values for name, *values in rows(printed)}
    assert [line for line, *_ in rows(printed)][:2] == ["ndcg@10", "90% interval"]
    assert found["ndcg@10"] == ["0.0434"] * 4
    assert found["90% interval"] == ["0.0310 to 0.0560"] * 4
    assert found["popularity_bias@10"] == ["3.2000"] * 4
    assert found["training, s"] == ["1.2"] * 4
    assert found["peak memory, MB"] == ["812.3"] * 4
    assert found["energy (estimate), J"] == ["12.3"] * 4
    assert found["on the Pareto front"] == ["yes", "", "yes", "yes"]
    assert found["the challenger"] == ["yes", "", "", ""]
    assert found["a recommendation, ms"] == ["0.5"] * 4
    assert found["model, MB"] == ["10.2"] * 4
    assert printed.endswith("candidate other failed: loss was [NaN]")
    narrow = seen(show_leaderboard, board, width=62)  # of two columns a table
    assert narrow.count("6,710 viewers") == 2
    assert "…" not in narrow
    assert narrow.count("0.0310 to 0.0560") == 4
