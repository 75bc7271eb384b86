"""Where figures of monitoring go: MLflow over time, a file for Prometheus, a page with charts."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flows.outcome import Watched
from infra.disk import arriving, disk_errors
from infra.errors import BadInput
from infra.registry import Registry


def log_windows(registry: Registry, watched: Watched) -> None:
    """One MLflow run a release, one step a day after its training; what is there is not logged again."""
    rows = [row for row in watched.windows if row["release"] == watched.release]
    if not rows:
        return
    title = f"watch {watched.release[:12]}"
    tags = {"nightreel.release": watched.release, "nightreel.as_of": watched.as_of}
    run = registry.run(f"monitor-{watched.release}", title=title, tags=tags)
    done = registry.steps(run, "viewers")
    for row in rows:
        step = (date.fromisoformat(row["last"]) - date.fromisoformat(watched.as_of)).days
        if step not in done:
            registry.log(run, params={}, metrics=[(name, value, step) for name, value in _metrics(row).items()])
    registry.finish(run)


def require_page(path: Path) -> None:
    """Raise `BadInput` for a page that is not called one."""
    if path.suffix.lower() != ".html":
        raise BadInput(f"--plot must end in .html. Received: {path}")


def leave_results(watched: Mapping[str, Any], *, plot: Path | None, prometheus: Path | None) -> None:
    """Leave the page and the file for Prometheus where they are asked for. Raises `BadInput` when they cannot be."""
    if plot:
        from tasks.monitor_plot import monitor_page

        with disk_errors(plot), arriving(plot) as file:
            file.write(monitor_page(watched, at=datetime.now(UTC)).encode())
    if prometheus:
        from tasks.monitor_metrics import leave_metrics

        leave_metrics(watched, prometheus)


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Figures of one window by the names that they have in MLflow; `viewers` last of all, as it marks what is whole."""
    live = {f"live/{name}": of["mean"] for name, of in row["live"].items()}
    popular = {f"popularity/{name}": of["mean"] for name, of in row["popularity"].items()}
    drift = {f"drift/{of['about']}/{of['what']}/{of['statistic']}": of["observed"] for of in row["drift"]}
    shares = {name: row[name] for name in ("unknown_viewers", "unknown_videos", "events", "viewers")}
    return {**live, **popular, **drift, "gain": row["gain"]["mean"], **shares}
