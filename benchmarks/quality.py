"""Candidates against other libraries' models of the same method: same data, same split, same parameters, our metrics.

    python -m benchmarks.quality --peer-python build/peers/bin/python --only MovieLens --methods ease ials --seeds 1 2 3

The data sets and splits are those of `benchmarks.cases`; all unseen videos are ranked. A figure is a mean over viewers
and seeds, ± its deviation over seeds; the difference to a peer is a paired bootstrap over viewers, 95 %, of their means
over seeds. What has run is kept under `--results` and found there by the next call with the same split and parameters,
so that a long table can be made piece by piece.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.cases import Case, cases
from benchmarks.libraries import PEERS, ROOT, K, run
from benchmarks.peer_files import Answer
from models.catalogue import CLASSES
from models.params import Candidates
from tasks.bootstrap import paired_bootstrap
from tasks.metrics import ranking_metrics
from tasks.params import load_params

READ_MORE = ("content", "twotower", "multitask")  # than who watched what
METHODS = [name for name in CLASSES if name not in READ_MORE]
SEEDED = frozenset({"ials", "gru4rec", "sasrec", "bert4rec"})


@dataclass(frozen=True)
class Contest:
    """Everything of a call but case, method and library."""

    train: Candidates
    seeds: list[int]
    python: Path | None
    results: Path

    def answers(self, library: str, method: str, case: Case) -> Iterator[Answer]:
        """One a seed where there is chance in it, otherwise one; from the results where they hold it."""
        for seed in self.seeds if method in SEEDED else self.seeds[:1]:
            params = getattr(self.train, method).model_dump_json()
            told = json.dumps([library, method, case.digest, params, seed])
            kept = self.results / f"{library}-{method}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
            if not (kept / "told.json").exists():
                answer = run(library, method, case, train=self.train, seed=seed, python=self.python)
                kept.mkdir(parents=True, exist_ok=True)
                answer.leave(kept)
            yield Answer.read(kept)


@dataclass(frozen=True)
class Judged:
    """Answers of one library's model as the table shows them; `ndcg` `[viewers]` is the mean over seeds."""

    cells: list[str]
    ndcg: NDArray[np.float64]

    @classmethod
    def of(cls, answers: list[Answer], case: Case) -> "Judged":
        """By our metrics."""
        wanted = case.wanted.take(case.judged)
        figures = [ranking_metrics(answer.lists, wanted, ks=[10, K]) for answer in answers]
        ndcg = np.array([each["ndcg@10"] for each in figures], np.float64)
        recall = np.mean([each[f"recall@{K}"] for each in figures])
        spread = f" ± {ndcg.mean(axis=1).std(ddof=1):.4f}" if len(answers) > 1 else ""
        seconds = np.median([answer.told["fit"] for answer in answers])
        return cls(
            [f"{ndcg.mean():.4f}{spread}", f"{recall:.4f}", f"{seconds:.1f}", str(len(answers))], ndcg.mean(axis=0)
        )


def table_of(case: Case, methods: list[str], peers: list[str], contest: Contest) -> Table:
    """One table a case."""
    title = f"{case.name}: {len(case.judged):,} viewers judged, {case.n_videos:,} videos, split {case.digest[:12]}"
    table = Table("method", "library", "NDCG@10", f"recall@{K}", "fit, s", "seeds", "ours less it", title=title)
    for method in methods:
        mine = Judged.of(list(contest.answers("ours", method, case)), case)
        table.add_row(method, "Nightreel", *mine.cells, "")
        for library in peers:
            if method in PEERS[library] and (library == "implicit" or not case.folds_in):
                other = Judged.of(list(contest.answers(library, method, case)), case)
                found = paired_bootstrap(mine.ndcg, other.ndcg, confidence=0.95, resamples=2000, seed=1)
                table.add_row("", library, *other.cells, f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]")
    return table


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--split", nargs="+", default=["last-out", "random", "viewers"])
    parser.add_argument("--only", default="", help="part of a data set's name")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--peer-python", type=Path, help="Python of the environment in benchmarks/peers.txt")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--set", action="append", default=[], help="such as train.itemknn.shrink=0")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "quality")
    asked = parser.parse_args()
    train = load_params(ROOT / "params.yaml", asked.set).train
    contest = Contest(train, asked.seeds, asked.peer_python, asked.results)
    for case in cases(asked.data, asked.split):
        if asked.only in case.name:
            Console(width=130).print(table_of(case, asked.methods, asked.peers, contest))


if __name__ == "__main__":
    main()
