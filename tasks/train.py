"""Train one candidate on the prepared histories."""

import logging
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from typing import Any

from infra.console import progress_bar
from infra.errors import BadInput, Refused
from models.catalogue import recommender
from models.protocol import Diverged, Training
from tasks import paths
from tasks.encoded import Encoded
from tasks.feedback import read_feedback, video_facts
from tasks.params import Params, load_params
from tasks.prepared import Prepared
from tasks.regions import read_places
from tasks.stage import stage, write_json

CHECKPOINTS = Path(".checkpoints")

log = logging.getLogger(__name__)


def train(
    name: str,
    prepared: Path,
    out: Path,
    metrics: Path,
    *,
    params: Params,
    checkpoints: Path,
    encoded: Path | None = None,
    regions: Path | None = None,
) -> dict[str, Any]:
    """Fit the candidate `name`, save it in `out`, and write what it took to the file `metrics`.

    Args:
        name: one of `params.every_candidate`.
        prepared: what `tasks.prepare` left.
        out: folder of the weights and config.
        metrics: JSON file: seconds of fitting by the clock and of processors, peak memory of this process, size of
            `out`, device, software, metrics by epoch.
        params: the whole tree.
        checkpoints: folder where a long training keeps its state; removed when it has ended well.
        encoded: what `tasks.encode` left, for a candidate that reads content vectors.
        regions: what `tasks.regions` left, for a ranker, which reads the catalogue and feedback as well.

    Returns:
        What `metrics` holds.

    Raises:
        BadInput: `name` is no candidate of `params`.
        Refused: the training diverged or ran out of memory.
    """
    if name not in params.every_candidate:
        raise BadInput(f"A candidate is one of {', '.join(params.every_candidate)}. Received: {name}")
    untrained = recommender(name, getattr(params.train, name))
    began, worked = time.perf_counter(), time.process_time()
    with _epoch_bar(name) as on_epoch:
        content = Encoded(encoded).content() if encoded else None
        read = Prepared(prepared)
        data = replace(_training(read, params.seed, checkpoints, on_epoch), content=content)
        if name in params.rankers:
            places = read_places(regions) if regions else None
            facts = video_facts(read.videos)
            data = replace(data, facts=facts, feedback=read_feedback(prepared), places=places)
        try:
            told = untrained.fit(data)
        except (Diverged, MemoryError) as error:
            rmtree(checkpoints, ignore_errors=True)
            raise Refused(f"candidate {name} failed: {error or 'out of memory'}") from error
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - worked
    untrained.save(out)
    software = {"software": f"numpy {version('numpy')}, scipy {version('scipy')}"}
    made = {"candidate": name, "seed": params.seed, "device": _device(told["device"])}
    figures = software | told | _figures(out, seconds, cpu_seconds) | made
    write_json(metrics, figures)
    rmtree(checkpoints, ignore_errors=True)
    log.info("%s trained in %.1f s on %s", name, seconds, figures["device"])
    return figures


def _training(
    prepared: Prepared, seed: int, checkpoints: Path, on_epoch: Callable[[int, int, dict[str, float]], None]
) -> Training:
    history = prepared.history()
    return Training(
        train=prepared.train(),
        valid=prepared.valid(),
        n_videos=prepared.videos.height,
        now=int(history.times.max()),
        seed=seed,
        checkpoints=checkpoints,
        on_epoch=on_epoch,
    )


@contextmanager
def _epoch_bar(name: str) -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """A progress bar over epochs; a model without epochs shows none."""
    with progress_bar() as bar:
        task = bar.add_task(f"train {name}", total=None, visible=False)

        def on_epoch(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
            shown = "  ".join(f"{key} {value:.4f}" for key, value in metrics.items())
            bar.update(task, completed=epoch, total=epochs, visible=True, description=f"train {name}  {shown}")
            log.info("%s epoch %d of at most %d: %s", name, epoch, epochs, shown)

        yield on_epoch


def _device(device: str) -> str:
    """The accelerator, or the kind of processor: only on the same kind are the same bits to be expected."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = next(iter(models), platform.processor() or platform.machine())
    return f"cpu ({model})" if device.startswith("cpu") else device


def _figures(out: Path, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "peak_megabytes": round(_peak_bytes() / 1e6, 1),
        "megabytes": round(sum(file.stat().st_size for file in out.iterdir()) / 1e6, 3),
    }


def _peak_bytes() -> int:
    """Largest resident memory of this process. Not `ru_maxrss` on Linux, where a child starts at its parent's peak."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(name: str) -> None:
    """The DVC stage of the candidate `name`."""
    params = load_params(Path("params.yaml"))
    train(
        name,
        paths.PREPARED,
        paths.CANDIDATES / name,
        paths.TRAIN_METRICS / f"{name}.json",
        params=params,
        checkpoints=CHECKPOINTS / name,
        encoded=paths.ENCODED if name in params.after_encode else None,
        regions=paths.REGIONS if name in params.rankers else None,
    )


if __name__ == "__main__":
    stage(main)
