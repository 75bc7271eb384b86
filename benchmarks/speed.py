"""How fast candidates train and rank beside other libraries' models of the same method, and how far from the floor.

    python -m benchmarks.speed shallow --peer-python build/peers/bin/python --cores 1
    python -m benchmarks.speed sasrec --peer-python build/peers/bin/python --cores 2 --set train.sasrec.epochs=15
    KERAS_BACKEND=jax python -m benchmarks.speed --device gpu --set train.sasrec.precision=mixed_bfloat16

MovieLens, last-out, parameters of params.yaml. All libraries get the same `--cores`, by affinity. Fitting and ranking
all viewers are timed apart, the best of `--rounds`. An epoch, its validation included, is the fastest after the first,
which compiles. The floor is the arithmetic that no implementation can leave out, over the rate of a plain float32
matrix product in the same run. With `--device gpu` SASRec alone is trained, on made-up histories
(`benchmarks.generate`), and the peak is that of the chip by its maker, `--peak` for one that is not listed. Trainings
of SASRec are kept under `--results`, where `benchmarks.quality --results` finds them and tells the difference.
"""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from models.params import Candidates, SasRecParams

if TYPE_CHECKING:
    from benchmarks.cases import Case
    from benchmarks.peer_files import Answer

# Dense bfloat16 on tensor cores, float32 accumulated: operations a second, by the makers' data sheets.
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
SHALLOW = ("itemknn", "userknn", "ials", "ease")
SHAPES = {"rectools": {"widened": 1}, "recbole": {"targets": 1}}  # where they differ from ours
HIDDEN_RATIO = 4
TRAINS = 3  # a training step is the forward pass and twice as much backward


def matrix_rate(n: int = 2048, times: int = 10) -> float:
    """Operations a second of a float32 product of two `[n, n]` matrices, the fastest of some."""
    one, other = (np.random.default_rng(seed).random((n, n), np.float32) for seed in (0, 1))
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - began)
    return 2 * n**3 / min(seconds)


def sasrec_operations(of: SasRecParams, n_videos: int, *, targets: int, widened: int = HIDDEN_RATIO) -> float:
    """Of training on one sequence: products of matrices, padding included.

    Args:
        of: sizes.
        n_videos: in the vocabulary.
        targets: positions that are scored.
        widened: the perceptron's inner width in multiples of `dim`.
    """
    scored = of.negatives + 1 if of.negatives else n_videos
    projections, perceptron, attention = 8 * of.dim**2, 4 * widened * of.dim**2, 4 * of.max_length * of.dim
    block = projections + perceptron + attention
    return TRAINS * (of.max_length * of.blocks * block + targets * 2 * of.dim * scored)


def shallow_operations(method: str, case: "Case", train: Candidates) -> float | None:
    """Of fitting; None where the products are sparse, whose rate is not that of dense ones."""
    if method == "ease":
        return float(case.n_videos) ** 3  # Cholesky a third, the inverse from it two thirds
    if method == "ials":
        of, events = train.ials, len(case.known.videos)
        rows = case.n_videos + case.sequences.n_viewers
        return of.iterations * (2 * 2 * events * of.factors**2 + rows * of.factors**3 / 3)
    return None


def compare_shallow(case: "Case", asked: argparse.Namespace, train: Candidates) -> Table:
    """Neighbours, iALS and EASE: seconds of fitting, viewers ranked a second."""
    from benchmarks.libraries import PEERS

    rate = matrix_rate()
    columns = ("method", "library", "fit, s", "of ours", "floor, s", "viewers ranked a second", "of ours")
    table = Table(*columns, title=_title(case, rate))
    for method in asked.methods:
        operations = shallow_operations(method, case, train)
        floor = f"{operations / rate:.2f}" if operations else ""
        mine = (0.0, 0.0)
        for library in ["ours", *(name for name in asked.peers if method in PEERS[name])]:
            told = [_run(library, method, case, train, asked).told for _ in range(asked.rounds)]
            fit, rank = (min(each[part] for each in told) for part in ("fit", "rank"))
            ranked = len(case.judged) / rank
            mine = (fit, ranked) if library == "ours" else mine
            ratios = (f"{fit / mine[0]:.2f}", f"{ranked / mine[1]:.2f}")
            name = "Nightreel" if library == "ours" else library
            table.add_row(method, name, f"{fit:.2f}", ratios[0], floor, f"{ranked:,.0f}", ratios[1])
    return table


def compare_sasrec(case: "Case", asked: argparse.Namespace, train: Candidates) -> Table:
    """SASRec: an epoch, the way to the best validation, and what it came to."""
    from benchmarks.quality import Contest

    contest = Contest(train, [asked.seed], asked.peer_python, asked.results / f"{asked.cores}-cores")
    rate = matrix_rate()
    columns = (
        "library",
        "sequences",
        "epoch (median), s",
        "sequences/s",
        "floor/epoch",
        "to the best, s",
        "NDCG@10",
        "load",
    )
    table = Table(*columns, title=f"{_title(case, rate)}; {train.sasrec.epochs} epochs at most")
    for library in ["ours", *(name for name in asked.peers if name != "implicit")]:
        (answer,) = contest.answers(library, "sasrec", case)
        told = answer.told
        epoch, median = epoch_seconds(told["ends"])
        shape = {"targets": train.sasrec.max_length} | SHAPES.get(library, {})
        floor = told["sequences"] * sasrec_operations(train.sasrec, case.n_videos, **shape) / rate
        best = f"{told['ends'][told['best'] - 1]:.0f} (epoch {told['best']} of {len(told['ends'])})"
        speed = [
            f"{told['sequences']:,}",
            f"{epoch:.2f} ({median:.2f})",
            f"{told['sequences'] / epoch:.1f}",
            f"{floor / epoch:.2f}",
        ]
        name = "Nightreel" if library == "ours" else library
        table.add_row(name, *speed, best, f"{_ndcg(answer, case):.4f}", f"{told['load']:.1f}")
    return table


def epoch_seconds(ends: list[float]) -> tuple[float, float]:
    """The fastest and the median epoch after the first, or the first where it is alone."""
    seconds = np.diff(ends) if len(ends) > 1 else np.array(ends)
    return float(seconds.min()), float(np.median(seconds))


def _run(library: str, method: str, case: "Case", train: Candidates, asked: argparse.Namespace) -> "Answer":
    from benchmarks.libraries import run

    return run(library, method, case, train=train, seed=asked.seed, python=asked.peer_python)


def _ndcg(answer: "Answer", case: "Case") -> float:
    from tasks.metrics import ranking_metrics

    return float(ranking_metrics(answer.lists, case.wanted.take(case.judged), ks=[10])["ndcg@10"].mean())


def _title(case: "Case", rate: float) -> str:
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return f"{case.name}: {cores} cores, load {load:.1f}, matrices at {rate / 1e9:.0f} billion operations a second"


def on_device(of: SasRecParams, asked: argparse.Namespace) -> Table:
    """SASRec on this Keras backend's accelerator, on made-up histories: sequences a second, share of the peak."""
    from benchmarks.generate import Size
    from models.backend import software
    from models.protocol import Training
    from models.sasrec import SasRec
    from models.windows import training_windows

    size = Size(users=asked.users, videos=asked.videos, events=50 * asked.users, days=1)
    history = histories_of(size)
    none = history.where(np.zeros(len(history.videos), np.bool_))
    ends: list[float] = []
    began = time.perf_counter()
    after = lambda *_: ends.append(time.perf_counter() - began)  # noqa: E731
    SasRec(of).fit(Training(history, none, n_videos=size.videos, now=0, seed=asked.seed, on_epoch=after))
    windows, _ = training_windows(history, length=of.max_length, n_videos=size.videos)
    each = len(windows) / epoch_seconds(ends)[0]
    done, device = each * sasrec_operations(of, size.videos, targets=of.max_length), device_kind()
    peak = asked.peak * 1e12 or next((PEAKS[name] for name in PEAKS if name in device), 0.0)
    share = f"{done / peak:.1%}" if peak else "unknown: give --peak"
    columns = ("device", "software", "sequences/s", "trillion operations/s", "of the peak")
    table = Table(*columns, title=f"SASRec, {len(windows):,} windows of {of.max_length}, {size.videos:,} videos")
    table.add_row(device, software(), f"{each:,.0f}", f"{done / 1e12:.2f}", share)
    return table


def device_kind() -> str:
    """The accelerator's name by its maker; JAX's devices are otherwise numbered only."""
    from models.backend import describe_device, keras

    if keras.backend.backend() != "jax":
        return describe_device()
    import jax

    return str(jax.devices()[0].device_kind)


def histories_of(size: Any) -> Any:
    """`models.sequences.Sequences` of generated events, by user and time."""
    from benchmarks.generate import days
    from models.sequences import Sequences

    drawn = list(days(size))
    users, videos, times = (np.concatenate([getattr(day, of) for day in drawn]) for of in ("users", "videos", "times"))
    order = np.lexsort((times, users))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=size.users))])
    return Sequences(offsets, videos[order], times[order], np.ones(len(users), np.float32))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("shallow", "sasrec"), default="sasrec")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peers", nargs="*", choices=("implicit", "rectools", "recbole"), default=["implicit"])
    parser.add_argument("--peer-python", type=Path, help="Python of the environment in benchmarks/peers.txt")
    parser.add_argument("--methods", nargs="+", choices=SHALLOW, default=SHALLOW)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("build/speed"), help="of sasrec, for benchmarks.quality")
    parser.add_argument("--set", action="append", default=[], help="such as train.sasrec.jit_compile=false")
    parser.add_argument("--users", type=int, default=200_000, help="of --device gpu")
    parser.add_argument("--videos", type=int, default=50_000, help="of --device gpu")
    parser.add_argument("--peak", type=float, default=0.0, help="of the chip, trillion operations a second")
    asked = parser.parse_args()
    from tasks.params import load_params

    train = load_params(Path(__file__).parents[1] / "params.yaml", asked.set).train
    if asked.device == "gpu":
        table = on_device(train.sasrec, asked)
    else:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.cores])
        from benchmarks.cases import cases

        case = next(case for case in cases(asked.data, ["last-out"]))
        table = {"shallow": compare_shallow, "sasrec": compare_sasrec}[asked.what](case, asked, train)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
