"""What monitoring found as Markdown, for Prefect's artifact pages."""

from flows.outcome import Watched
from flows.views.verdict_page import figure


def monitor_markdown(watched: Watched) -> str:
    """What is said, a table of windows, and a table of the newest window's drift."""
    lines = [f"## {watched.name}: {watched.status}", "", f"Release {watched.release[:12]}, {watched.candidate}", ""]
    lines += [f"- {sentence}" for sentence in watched.said]
    heads = ["days", "viewers", watched.primary, "popularity", "limits", "chart", "drifting"]
    lines += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in watched.windows:
        limits = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        cells = [
            f"{row['first']} to {row['last']}",
            str(row["viewers"]),
            f"{row['value']:.4f}",
            f"{row['baseline']:.4f}",
            limits,
            row["chart"],
            str(len(row["drifting"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| about | what | statistic | observed | bound | of | |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row['about']} | {row['what']} | {row['statistic']} | {figure(row['observed'])} | {figure(row['bound'])} "
        f"| {row['of']} | {row['word']} |"
        for row in watched.drift
    ]
    return "\n".join(lines)
