"""Windows as rows: figures, control charts of the metric and of its gain over popularity, and what to say of them."""

from collections.abc import Sequence
from typing import Any

from lineage.windows import Measure, Window
from tasks.control_chart import Chart, Point, control_chart
from tasks.monitor_bounds import Judged, judge
from tasks.monitor_params import Monitor


def charted(
    live: Sequence[Window], past: Sequence[Window], params: Monitor
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """What is shown of windows.

    Args:
        live: of the live release, oldest first.
        past: of the recommender, these among them.
        params: bounds.

    Returns:
        One row a window of `past`; one a figure of drift of the newest window of `live`; and sentences for a person.
    """
    primary = live[-1].primary if live else past[-1].primary if past else ""
    shown = [window for window in past if window.primary == primary]
    metric = _chart([window.live[primary] for window in shown], shown, params)
    gain = _chart([window.gain for window in shown], shown, params)
    rows = [_row(window, at, metric, gain, params) for at, window in enumerate(shown)]
    judged = [judge(figure, params) for figure in live[-1].drift] if live else []
    newest = rows[-1] if rows and live and rows[-1]["last"] == live[-1].last else None
    said = [_out_of_control(newest)] if newest and newest["chart"] == "below" else []
    said += [f"Drift since training: {each.sentence}" for each in judged if each.word == "drift"]
    return rows, [_figure(each) for each in judged], said


def _chart(figures: Sequence[Measure], of: Sequence[Window], params: Monitor) -> Chart:
    points = [Point(figure.mean, figure.sd, window.viewers) for figure, window in zip(figures, of, strict=True)]
    return control_chart(points, baseline=params.baseline_windows, sigmas=params.sigmas)


def _row(window: Window, at: int, metric: Chart, gain: Chart, params: Monitor) -> dict[str, Any]:
    judged = [judge(figure, params) for figure in window.drift]
    return {
        **window.model_dump(mode="json", exclude={"drift"}),
        "drift": [_figure(each) for each in judged],
        "value": window.live[window.primary].mean,
        "baseline": window.popularity[window.primary].mean,
        "drifting": [each.sentence for each in judged if each.word == "drift"],
        "chart": metric.words[at],
        "centre": metric.centre,
        "low": metric.low[at],
        "high": metric.high[at],
        "gain_chart": gain.words[at],
        "gain_centre": gain.centre,
        "gain_low": gain.low[at],
        "gain_high": gain.high[at],
    }


def _out_of_control(row: dict[str, Any]) -> str:
    """Popularity on the same viewers tells a day that is bad for all from a model that has become bad."""
    is_model = row["gain_chart"] == "below"
    meaning = (
        "so is its gain over popularity: it is the model"
        if is_model
        else "its gain over popularity is not: a bad day for all"
    )
    return (
        f"{row['primary']} {row['value']:.4f} up to {row['last']} is below the control limit "
        f"{row['low']:.4f}; {meaning}."
    )


def _figure(judged: Judged) -> dict[str, Any]:
    told = judged.drift.model_dump(mode="json", exclude={"noise", "usual"})
    return told | {"bound": judged.bound, "of": judged.of, "word": judged.word}
