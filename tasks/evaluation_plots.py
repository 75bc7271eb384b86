"""Two pictures of an evaluation, for a quick look: metrics by list length, and by slice of the viewers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.metrics import LISTS, RANKING
from tasks.slices import LABELS, SLICED_BY


def plot_evaluation(facts: Mapping[str, Any], folder: Path) -> None:
    """Write `by_k.png` and `slices.png` of a metrics file's content into `folder`, made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{facts['candidate']}, {facts['viewers']:,} viewers"
    _save(_by_k(facts["metrics"], title), folder / "by_k.png")
    _save(_by_slice(facts["slices"], title), folder / "slices.png")


def _ks(metrics: Mapping[str, float | None]) -> list[int]:
    return sorted({int(name.partition("@")[2]) for name in metrics})


def _by_k(metrics: Mapping[str, float | None], title: str) -> Figure:
    """One panel with the ranking metrics, one for each metric of lists, over k."""
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplot_mosaic([["ranking", *LISTS[:2]], ["ranking", *LISTS[2:]]], width_ratios=[1.6, 1, 1])
    # With one held-out video a viewer, recall equals hit rate and MAP equals MRR: dashes let both be seen.
    for metric, style in zip(RANKING, ("-", "-", "--", "-", "--"), strict=True):
        _line(panels["ranking"], metrics, metric, style)
    panels["ranking"].legend()
    for metric in LISTS:
        _line(panels[metric], metrics, metric, "-")
        panels[metric].set_title(metric.replace("_", " "))
    for axes in panels.values():
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
        axes.set_xticks(_ks(metrics))
        axes.set_xlabel("k")
        axes.grid(alpha=0.3)
    return figure


def _line(axes: Axes, metrics: Mapping[str, float | None], metric: str, style: str) -> None:
    figures = {k: metrics[f"{metric}@{k}"] for k in _ks(metrics)}
    known = {k: value for k, value in figures.items() if value is not None}
    axes.plot(list(known), list(known.values()), marker="o", linestyle=style, label=metric)


def _by_slice(slices: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """One panel a kind of slice, bars of NDCG at each k, viewers counted under each group."""
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    figure.suptitle(title)
    names = sorted(
        {name for row in slices.values() for name in row if name.startswith("ndcg@")}, key=lambda n: _ks({n: 0})
    )
    for axes, by in zip(figure.subplots(1, len(SLICED_BY), sharey=True), SLICED_BY, strict=True):
        present = [label for label in LABELS if f"{by}={label}" in slices]
        for at, name in enumerate(names):
            heights = [slices[f"{by}={label}"][name] for label in present]
            places = [place + at / (len(names) + 1) for place in range(len(present))]
            axes.bar(places, heights, width=1 / (len(names) + 1), align="edge", label=name)
        middle = [place + len(names) / (len(names) + 1) / 2 for place in range(len(present))]
        axes.set_xticks(middle, [f"{label}\n{slices[f'{by}={label}']['viewers']:,} viewers" for label in present])
        axes.set_title(by.replace("_", " "))
        axes.grid(alpha=0.3, axis="y")
    axes.legend()
    return figure


def _save(figure: Figure, path: Path) -> None:
    # A Figure made without pyplot draws with Agg and needs no display. Without the version the bytes are the same
    # from one machine to the next as long as Matplotlib is.
    figure.savefig(path, dpi=110, metadata={"Software": None})
