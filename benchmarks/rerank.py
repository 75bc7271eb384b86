"""What re-ranking costs and brings: EASE's lists of ten as they are, and re-ranked by one rule after another.

    python -m benchmarks.rerank

MovieLens with each viewer's newest positive held out, and the KuaiRand excerpt in `NIGHTREEL_DATA`, where it is there,
with its newest tenth held out. No data set at hand has two videos of one author: MovieLens's combination of genres
stands in for the author. All is known as of the end of training; fresh is what first appeared in its last year on
MovieLens, in its last two days on KuaiRand.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from models.ease import Ease
from models.params import EaseParams, RerankParams
from models.protocol import Training
from tasks.evaluate import held_out
from tasks.metrics import list_metrics, ranking_metrics, video_features
from tasks.params import Positives, Prepare
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.ranker import Lists, Ranker
from tasks.rerank import Reranking
from tasks.schema import Events, Videos
from tests.tasks.raw_folder import kuairand, movielens
from tests.tasks.sources import KUAIRAND

K = 10
SEED = 1
SETTINGS: dict[str, dict[str, float]] = {
    "as ranked": {},
    "nothing asked for": {"diversity": 0.0},
    "diversity 0.1": {"diversity": 0.1},
    "diversity 0.3": {"diversity": 0.3},
    "diversity 0.5": {"diversity": 0.5},
    "1 per author": {"per_author": 1},
    "2 per author": {"per_author": 2},
    "1 fresh": {"fresh_slots": 1},
    "2 fresh": {"fresh_slots": 2},
    "1 explored": {"explore_slots": 1},
    "diversity 0.1, 2 per author, 1 fresh, 1 explored": {
        "diversity": 0.1,
        "per_author": 2,
        "fresh_slots": 1,
        "explore_slots": 1,
    },
}
SHOWN = ("setting", "NDCG@10", "recall@10", "diversity", "coverage", "novelty", "fresh", "one author", "ms a viewer")


@dataclass(frozen=True)
class Case:
    """One data set with a trained model."""

    name: str
    data: Prepared
    model: Ease
    fresh_days: float

    @classmethod
    def of(cls, name: str, frames: tuple[pl.DataFrame, pl.DataFrame], into: Path, split: str, days: float) -> "Case":
        """Prepare and train."""
        events, videos = frames
        (into / "accepted").mkdir(parents=True)
        events.sort(Events.USER, Events.TIME, maintain_order=True).write_parquet(into / "accepted/events.parquet")
        videos.write_parquet(into / "accepted/videos.parquet")
        rules = Positives(rating_at_least=3.5, liked=True)
        params = Prepare.model_validate({"positives": rules, "min_viewer_events": 3, "split": split})
        prepare(into / "accepted", into / "prepared", into / "prepare.json", params=params, seed=SEED)
        data = Prepared(into / "prepared")
        model = Ease(EaseParams(l2=250.0, neighbours=300))
        now = data.facts["now"]
        model.fit(Training(data.train(), data.valid(), n_videos=data.videos.height, now=now, seed=SEED))
        return cls(name, data, model, days)

    def row(self, setting: str, rules: Mapping[str, float]) -> list[str]:
        """One row of the table."""
        now, videos = self.data.facts["now"], self.data.videos
        asked = RerankParams.model_validate({"fresh_days": self.fresh_days, **rules})
        reranker = Reranking.until(now, asked, seed=SEED).reranker(videos, self.model.video_vectors(), now=now)
        ranker = Ranker(self.model, n_videos=videos.height, name="ease", reranker=reranker if rules else None)
        holdout = held_out(self.data)
        ranker.recommend(holdout.history, K)
        began = time.perf_counter()
        lists = ranker.recommend(holdout.history, K)
        taken = (time.perf_counter() - began) / len(lists) * 1000
        ranking = ranking_metrics(lists, holdout.relevant, ks=[K])
        events, features = videos["train_events"].to_numpy(), video_features(videos, self.data.train())
        of = list_metrics(lists, ks=[K], train_events=events, features=features)
        figures = [float(ranking[name].mean()) for name in ("ndcg@10", "recall@10")]
        figures += [of[name] for name in ("diversity@10", "coverage@10")]
        share = np.isin(lists, reranker.fresh).sum() / (lists >= 0).sum()
        author = _largest_share(lists, reranker.authors)
        shown = [f"{figure:.4f}" for figure in figures] + [f"{of['novelty@10']:.2f}"]
        return [setting, *shown, f"{share:.1%}", f"{author:.0%}" if author else "", f"{taken:.2f}"]


def _largest_share(lists: Lists, authors: np.ndarray) -> float:
    """Mean over viewers: places of the author who has the most of a list's, over its length."""
    by = np.append(authors, np.int32(-1))[lists]
    same = (by[:, :, None] == by[:, None, :]) & (by >= 0)[:, :, None]
    return float((same.sum(axis=2).max(axis=1) / (lists >= 0).sum(axis=1)).mean())


def _by_genres(frames: tuple[pl.DataFrame, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    events, videos = frames
    return events, videos.with_columns(pl.col(Videos.TAGS).list.join("|").alias(Videos.AUTHOR))


def report(case: Case, settings: Mapping[str, Mapping[str, float]], console: Console) -> None:
    """Print one table."""
    table = Table(*SHOWN, title=f"{case.name}, {len(held_out(case.data).viewers)} viewers, EASE, lists of {K}")
    for name, rules in settings.items():
        table.add_row(*case.row(name, rules))
    console.print(table)


def main() -> None:
    """Run what there is data for."""
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        films = _by_genres(movielens(at / "films"))
        report(Case.of("MovieLens", films, at / "a", "last-out", 365.0), SETTINGS, console)
        if KUAIRAND.is_dir():
            case = Case.of("KuaiRand", kuairand(at / "log"), at / "b", "time", 2.0)
            report(case, {name: rules for name, rules in SETTINGS.items() if "author" not in name}, console)


if __name__ == "__main__":
    main()
