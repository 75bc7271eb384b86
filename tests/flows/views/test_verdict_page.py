"""The Markdown of Prefect's artifact pages."""

from flows.views.verdict_page import standings_markdown

COSTS = {"seconds": 12.345, "peak_megabytes": 800.0, "joules": 99.0, "milliseconds": 0.5, "megabytes": 7.0}


def test_candidates_stand_side_by_side_with_their_costs_and_who_failed_below() -> None:
    ease = {"candidate": "ease", "primary": "ndcg@10", "ndcg@10": 0.043391, "low": 0.04, "high": 0.05, **COSTS}
    rows = [ease | {"front": True, "challenger": False}, {"candidate": "sasrec", "failed": "out of memory"}]
    page = standings_markdown(rows).splitlines()
    assert page[2].startswith("| candidate | ndcg@10 | interval | training, s | peak memory, MB |")
    assert page[4] == "| ease | 0.0434 | 0.0400 to 0.0500 | 12.35 | 800 | 99 | 0.5 | 7 | ✓ |  |"
    assert page[2].count("|") == page[3].count("|") == page[4].count("|")
    assert page[-1] == "sasrec failed: out of memory"
