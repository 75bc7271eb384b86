"""The newest figures of what is live in Prometheus' text format, for node_exporter's textfile collector.

Monitoring is a job that ends, so nothing is left to scrape: https://prometheus.io/docs/practices/instrumentation/ says
to leave a file, or to push it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from infra.disk import disk_errors

WORDS = ("learning", "in control", "below", "above")


def leave_metrics(watched: Mapping[str, Any], path: Path) -> None:
    """Write the newest window and its drift to `path`, whole or not at all. Raises `BadInput` when it cannot be."""
    registry = CollectorRegistry()
    _of_release(watched, registry)
    if watched["windows"]:
        _of_window(watched["windows"][-1], watched["name"], registry)
    _of_drift(watched, registry)
    with disk_errors(path):
        write_to_textfile(str(path), registry)


def _of_release(watched: Mapping[str, Any], registry: CollectorRegistry) -> None:
    labels = {"recommender": watched["name"]}
    live = Gauge(
        "nightreel_live_release", "1 for the release that was watched", [*labels, "release"], registry=registry
    )
    live.labels(**labels, release=watched["release"][:12]).set(1)
    trained = Gauge("nightreel_trained_until_timestamp_seconds", "Day of its data", list(labels), registry=registry)
    trained.labels(**labels).set(_seconds(watched["as_of"]))
    back = Gauge(
        "nightreel_rollback_due", "1 where a rollback was due, carried out or not", list(labels), registry=registry
    )
    back.labels(**labels).set(watched["status"] in ("rolled back", "rollback refused"))


def _of_window(row: Mapping[str, Any], name: str, registry: CollectorRegistry) -> None:
    figures = {
        "nightreel_window_last_day_timestamp_seconds": ("Last day of the newest window", _seconds(row["last"])),
        "nightreel_window_viewers": ("Viewers judged in it", row["viewers"]),
        "nightreel_window_events": ("Accepted events in it", row["events"]),
        "nightreel_unknown_viewers_ratio": ("Viewers whom the release has not met", row["unknown_viewers"]),
        "nightreel_unknown_videos_ratio": ("Positives whose video it has not met", row["unknown_videos"]),
        "nightreel_drifting_figures": ("Figures of drift above their bound", len(row["drifting"])),
    }
    for metric, (meaning, value) in figures.items():
        Gauge(metric, meaning, ["recommender"], registry=registry).labels(name).set(value)
    quality = Gauge("nightreel_quality", "Mean over viewers", ["recommender", "by", "metric"], registry=registry)
    for by in ("live", "popularity"):
        for metric, of in row[by].items():
            quality.labels(name, by, metric).set(of["mean"])
    chart = Gauge("nightreel_control_chart", "1 for the chart's word", ["recommender", "word"], registry=registry)
    for word in WORDS:
        chart.labels(name, word).set(word == row["chart"])


def _of_drift(watched: Mapping[str, Any], registry: CollectorRegistry) -> None:
    labels = ["recommender", "about", "what", "statistic"]
    observed = Gauge("nightreel_drift", "How far the newest window strays from training", labels, registry=registry)
    bound = Gauge("nightreel_drift_bound", "The largest that is no drift", labels, registry=registry)
    for row in watched["drift"]:
        of = (watched["name"], row["about"], row["what"], row["statistic"])
        observed.labels(*of).set(row["observed"])
        bound.labels(*of).set(row["bound"])


def _seconds(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
