"""EASE and SASRec beside a plain NumPy EASE: same ratings and split.

    python -m benchmarks.recommenders

Each viewer's newest positive is held out and all unseen videos are ranked. Peers are in `benchmarks.quality` and
`benchmarks.speed`.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from models.catalogue import recommender
from models.protocol import Training
from models.ranking import top_k
from tasks.params import Params, load_params
from tasks.prepared import Prepared
from tests.tasks.prepared_folder import leave_movielens

ROOT = Path(__file__).parents[1]


def ours(name: str, data: Prepared, params: Params) -> tuple[np.ndarray, float, float]:
    """Lists of ten, seconds of fitting and of ranking, of the recommender `name`."""
    model = recommender(name, getattr(params.train, name))
    history = data.history()
    began = time.perf_counter()
    model.fit(
        Training(
            train=data.train(),
            valid=data.valid(),
            n_videos=data.videos.height,
            now=int(history.times.max()),
            seed=params.seed,
        )
    )
    fitted = time.perf_counter()
    lists, _ = top_k(model.viewer_vectors(history), model.video_vectors(), history, 10)
    return lists, fitted - began, time.perf_counter() - fitted


def plain_ease(data: Prepared, params: Params) -> tuple[np.ndarray, float, float]:
    """Steck's dozen lines, dense, float32."""
    history = data.history()
    watched = np.zeros((history.n_viewers, data.videos.height), np.float32)
    watched[history.viewer_of_event(), history.videos] = 1
    began = time.perf_counter()
    gram = watched.T @ watched
    gram[np.diag_indices(len(gram))] += params.train.ease.l2
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices(len(gram))] = 0
    fitted = time.perf_counter()
    scores = watched @ weights
    scores[watched > 0] = -np.inf
    lists = np.argsort(-scores, axis=1)[:, :10]
    return lists, fitted - began, time.perf_counter() - fitted


def ndcg(lists: np.ndarray, wanted: np.ndarray) -> float:
    """Mean NDCG@10 where each viewer wants one video."""
    return float(((lists == wanted[:, None]) / np.log2(np.arange(2, 12))).sum(axis=1).mean())


def main() -> None:
    """Run all and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], help="such as train.sasrec.epochs=5")
    asked = parser.parse_args()
    params = load_params(ROOT / "params.yaml", asked.set)
    table = Table("recommender", "NDCG@10", "fit, s", "rank, s", title="MovieLens, last positive held out")
    with tempfile.TemporaryDirectory() as folder:
        data = leave_movielens(Path(folder))
        runs = {
            "EASE, plain NumPy": lambda: plain_ease(data, params),
            "EASE, Nightreel": lambda: ours("ease", data, params),
            "SASRec, Nightreel": lambda: ours("sasrec", data, params),
        }
        for name, run in runs.items():
            lists, fit, rank = run()
            table.add_row(name, f"{ndcg(lists, data.holdout().videos):.4f}", f"{fit:.1f}", f"{rank:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
