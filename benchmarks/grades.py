"""What graded positives do: candidates that read weights, with and without `prepare.grades`, on one holdout.

    NIGHTREEL_DATA=../shared/data python -m benchmarks.grades [--only KuaiRand] [--candidates ials ease]

With params.yaml, on MovieLens (ratings of 3.5 and more) and the KuaiRand excerpt (liked), each viewer's newest positive
held out, all unseen videos ranked. Grades change no positive and no split, so every row is judged by the same viewers'
same videos. The difference is a paired bootstrap over viewers with 95 %. iALS starts at random, so a viewer's figure is
the mean of three seeds. The last column is the share of lists with a video that their viewer disliked before.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.recommenders import ROOT, ours
from tasks.bootstrap import paired_bootstrap
from tasks.metrics import ranking_metrics
from tasks.params import Prepare, load_params
from tasks.positives import INDEX
from tasks.prepared import Prepared
from tasks.quarantine import EVENT_KEY, event_rules, separate
from tasks.schema import Events, Videos
from tests.tasks.raw_folder import Night, kuairand, movielens
from tests.tasks.sources import KUAIRAND

CANDIDATES = ["popularity", "itemknn", "userknn", "hybridcf", "ials", "ease", "easemarkov"]
SEEDS = {"ials": (1, 2, 3)}
ACTS = ("followed", "commented", "shared")
CASES = {
    "MovieLens": (movielens, {"rating_at_least": 3.5}, [{"rating": weight} for weight in (0.5, 1.0, 2.0)]),
    "KuaiRand": (kuairand, {"liked": True}, [dict.fromkeys(ACTS, 2.0), {"finished": 1.0}, {"finished": 3.0}]),
}


def prepared_with(grades: dict[str, float], positives: dict[str, object], night: Night) -> Prepared:
    """Last-out over the accepted tables of `night`."""
    tree = {"positives": positives, "grades": grades, "min_viewer_events": 3, "split": "last-out"}
    return night.prepare(Prepare.model_validate(tree))


def accept(night: Night, events: pl.DataFrame, videos: pl.DataFrame) -> None:
    """Leave the tables as validate does."""
    rules = event_rules(events.columns, as_of=events[Events.DAY].max(), known_videos=None)
    (night.root / "accepted").mkdir()
    separate(events, rules, EVENT_KEY).accepted.write_parquet(night.root / "accepted/events.parquet")
    videos.write_parquet(night.root / "accepted/videos.parquet")


def disliked_in(lists: NDArray[np.int32], data: Prepared, events: pl.DataFrame) -> str:
    """Share of lists with a video that their viewer disliked before the newest positive that is known of them."""
    if Events.DISLIKED not in events.columns:
        return ""
    newest = pl.DataFrame({Events.USER: data.viewers[Events.USER], "newest": _newest_known(data)}).with_row_index("at")
    disliked = (
        events.filter(pl.col(Events.DISLIKED))
        .join(newest, on=Events.USER)
        .filter(pl.col(Events.TIME).dt.epoch("ms") <= pl.col("newest"))
        .join(data.videos.select(Videos.ID).with_row_index(INDEX), on=Videos.ID)
    )
    at, video = disliked["at"].to_numpy(), disliked[INDEX].to_numpy()
    marks = np.zeros((len(lists), data.videos.height), np.bool_)
    marks[at, video] = True
    return f"{np.take_along_axis(marks, np.maximum(lists, 0), axis=1).any(axis=1).mean():.1%}"


def _newest_known(data: Prepared) -> NDArray[np.int64]:
    history = data.history()
    return history.times[np.maximum(history.offsets[1:] - 1, 0)]


def table_of(name: str, candidates: list[str], root: Path) -> Table:
    """One table a data set."""
    read, positives, all_grades = CASES[name]
    night = Night(root / "night")
    night.root.mkdir(parents=True)
    events, videos = read(root / "source")
    accept(night, events, videos)
    data = prepared_with({}, positives, night)
    title = f"{name}: {data.holdout().n_viewers:,} viewers, split {data.facts['split_digest'][:12]}"
    table = Table("candidate", "grades", "NDCG@10", "graded less ungraded", "disliked", title=title)
    for candidate in candidates:
        for cells in rows_of(candidate, [{}, *all_grades], positives, night, events):
            table.add_row(candidate, *cells)
    return table


def rows_of(
    candidate: str,
    all_grades: list[dict[str, float]],
    positives: dict[str, object],
    night: Night,
    events: pl.DataFrame,
) -> Iterator[list[str]]:
    """One row for each of `all_grades`, of which the first is what the others are held against."""
    plain = None
    for grades in all_grades:
        data = prepared_with(grades, positives, night)
        params = load_params(ROOT / "params.yaml")
        of_seeds = [
            ours(candidate, data, params.model_copy(update={"seed": seed}))[0] for seed in SEEDS.get(candidate, (1,))
        ]
        figures = [ranking_metrics(lists, data.holdout(), ks=[10])["ndcg@10"] for lists in of_seeds]
        ndcg = np.mean(figures, axis=0)[data.holdout().lengths > 0]
        told = ", ".join(f"{name} {weight:g}" for name, weight in grades.items()) or "none"
        differs = ""
        if plain is not None:
            found = paired_bootstrap(ndcg, plain, confidence=0.95, resamples=2000, seed=1)
            differs = f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        plain = ndcg if plain is None else plain
        yield [told, f"{ndcg.mean():.4f}", differs, disliked_in(of_seeds[0], data, events)]


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", nargs="+", default=CANDIDATES)
    parser.add_argument("--only", default="", help="part of a data set's name")
    asked = parser.parse_args()
    for name in CASES:
        if asked.only in name and (name != "KuaiRand" or KUAIRAND.is_dir()):
            with tempfile.TemporaryDirectory() as folder:
                Console(width=120).print(table_of(name, asked.candidates, Path(folder)))


if __name__ == "__main__":
    main()
