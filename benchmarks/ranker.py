"""The multi-task ranker against the retrievers that it ranks, and MMoE against a shared bottom and single tasks.

    python -m benchmarks.ranker [--data ../shared/data] [--seeds 3]

KuaiRand's excerpt (likes and hates with seconds watched, follows, comments, shares) and MovieLens (ratings). Each
viewer's last positive is held out, all unseen videos are candidates. Differences are paired over viewers, 95 %.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from infra.settings import Settings
from models.catalogue import recommender
from models.early_stopping import METRIC
from models.feedback import Feedback
from models.multitask import MultiTask
from models.params import MultiTaskParams, Section
from models.protocol import Training
from models.ranking import top_k
from tasks.bootstrap import paired_bootstrap
from tasks.evaluate import Holdout, held_out
from tasks.feedback import read_feedback, video_facts
from tasks.metrics import ranking_metrics
from tasks.params import Positives, Prepare
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.readers.base import LocalFile, Reader
from tasks.readers.kuairand import KuaiRand
from tasks.readers.movielens import MovieLensSample
from tasks.schema import Events

RULES = {"KuaiRand": Positives(liked=True), "MovieLens": Positives(rating_at_least=3.5)}
# What is old counts little in KuaiRand's log of two weeks, and much in MovieLens' of 21 years.
HALF_LIVES = {"easemarkov": 1.0, "itemknn": 1.0, "popularity": 0.1}
RETRIEVERS: dict[str, Any] = {
    "KuaiRand": {name: {"half_life_days": days} for name, days in HALF_LIVES.items()},
    "MovieLens": {"popularity": {"half_life_days": None}},
}
KINDS = {"MMoE": {"experts": 4}, "shared bottom": {"experts": 1, "expert_dim": 64}}

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A prepared data set: what is learnt from, and who judges it."""

    name: str
    data: Training
    holdout: Holdout

    @classmethod
    def of(cls, name: str, reader: Reader, folder: Path) -> "Case":
        """What `reader` reads, prepared in `folder` as a night would."""
        files = [LocalFile(file, file.path) for file in reader.files().files if file.path]
        tables = reader.read(files, through=None)
        accepted, out = folder / "accepted", folder / "prepared"
        accepted.mkdir(parents=True)
        events = tables.events.frame.sort(Events.USER, Events.TIME, maintain_order=True)
        events.write_parquet(accepted / "events.parquet")
        if tables.videos is not None:
            tables.videos.frame.write_parquet(accepted / "videos.parquet")
        params = Prepare(positives=RULES[name], split="last-out", min_viewer_events=3)
        prepare(accepted, out, folder / "prepare.json", params=params, seed=1)
        prepared = Prepared(out)
        history, facts = prepared.history(), video_facts(prepared.videos)
        known: dict[str, Any] = {"now": int(history.times.max()), "facts": facts, "feedback": read_feedback(out)}
        data = Training(prepared.train(), prepared.valid(), prepared.videos.height, seed=0, **known)
        return cls(name, data, held_out(prepared))

    def ndcg(self, lists: NDArray[np.int32]) -> Figures:
        """`[viewers]` NDCG@10."""
        return ranking_metrics(lists, self.holdout.relevant, ks=[10])[METRIC]

    def retriever(self, name: str, params: Section) -> Figures:
        """NDCG@10 of a retriever alone."""
        model, history = recommender(name, params), self.holdout.history
        model.fit(self.data)
        return self.ndcg(top_k(model.viewer_vectors(history), model.video_vectors(), history, 10)[0])

    def ranker(self, params: MultiTaskParams, seed: int) -> tuple[Figures, dict[str, Any]]:
        """NDCG@10 of the ranker, and what its training says of itself."""
        model = MultiTask(params)
        began = time.perf_counter()
        facts = model.fit(replace(self.data, seed=seed))
        facts["seconds"] = time.perf_counter() - began
        return self.ndcg(model.rank(self.holdout.history, 10)[0]), facts

    def alone(self) -> "Case":
        """The same with no feedback but the positives themselves: a single task."""
        return replace(self, data=replace(self.data, feedback=Feedback.none()))


def lists_table(case: Case, retrieved: dict[str, Figures], ranked: dict[str, list[Figures]], best: str) -> Table:
    """NDCG@10, and the difference to the `best` retriever."""
    table = Table("", METRIC, f"less {best}", title=f"{case.name}, last out, {len(retrieved[best])} viewers")
    for name, figures in retrieved.items():
        table.add_row(name, f"{figures.mean():.4f}", "")
    for name, of_seeds in ranked.items():
        figures = np.mean(of_seeds, axis=0)
        interval = paired_bootstrap(figures, retrieved[best], confidence=0.95, resamples=2000, seed=1)
        told = f"{figures.mean() - retrieved[best].mean():+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
        table.add_row(name, f"{figures.mean():.4f} ± {np.std([one.mean() for one in of_seeds]):.4f}", told)
    return table


def tasks_table(facts: dict[str, list[dict[str, Any]]]) -> Table:
    """What the judging viewers did, as each network tells it; means over seeds."""
    table = Table("task", "told by", "examples", "mean", "AUC", "log loss (constant)", "RMSE (constant)", "calibration")
    for task in facts["MMoE"][0]["tasks"]:
        for name, of_seeds in facts.items():
            if rows := [one["tasks"][task] for one in of_seeds if task in one["tasks"]]:
                table.add_row(task, name, *_row(rows))
    return table


def _row(rows: list[dict[str, Any]]) -> Iterator[str]:
    def mean(name: str) -> str:
        values = [row[name] for row in rows if row.get(name) is not None]
        return f"{np.mean(values):.3f}" if values else ""

    yield f"{rows[0]['examples']:,}"
    yield from (mean("mean"), mean("auc"))
    for name in ("log_loss", "rmse"):
        yield f"{mean(name)} ({mean('base_' + name)})" if mean(name) else ""
    before, after = mean("uncalibrated_error"), mean("calibration_error")
    yield f"{before} to {after}" if after else ""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    console = Console(width=120)
    readers = {"KuaiRand": KuaiRand(str(args.data / "kuairand"), Settings()), "MovieLens": MovieLensSample()}
    with TemporaryDirectory() as folder:
        for name, reader in readers.items():
            show(Case.of(name, reader, Path(folder) / name), args.seeds, console)


def show(case: Case, seeds: int, console: Console) -> None:
    """Train and judge everything on one data set."""
    base = MultiTaskParams.model_validate({"retrievers": RETRIEVERS[case.name]})
    retrieved = {name: case.retriever(name, params) for name, params in base.retrievers.chosen().items()}
    ranked: dict[str, list[Figures]] = {}
    facts: dict[str, list[dict[str, Any]]] = {}
    for name, of, changes in [
        *((name, case, changes) for name, changes in KINDS.items()),
        ("single", case.alone(), {}),
    ]:
        ran = [of.ranker(base.model_copy(update=changes), seed) for seed in range(seeds)]
        ranked[name], facts[name] = [figures for figures, _ in ran], [told for _, told in ran]
    best = max(retrieved, key=lambda name: retrieved[name].mean())
    console.print(lists_table(case, retrieved, ranked, best))
    console.print(tasks_table(facts))
    seconds = {name: np.mean([one["seconds"] for one in of_seeds]) for name, of_seeds in facts.items()}
    console.print("seconds of fitting: " + ", ".join(f"{name} {took:.1f}" for name, took in seconds.items()))


if __name__ == "__main__":
    main()
