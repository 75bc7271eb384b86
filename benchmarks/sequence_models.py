"""The sequence models side by side: same ratings, split, width and seed as `benchmarks/recommenders.py`.

    python -m benchmarks.sequence_models --only GRU4Rec

Each viewer's newest positive is held out and all unseen videos are ranked.
"""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.recommenders import ROOT, ndcg, ours
from tasks.params import load_params
from tests.tasks.prepared_folder import leave_movielens

# One draw serves a batch, so that fewer leave most videos of the catalogue unlearnt.
MANY = ["negatives=2048", "epochs=34", "patience=20"]

# By the name in the table: the candidate, and what is set beside params.yaml.
VARIANTS = {
    "SASRec, full softmax": ("sasrec", []),
    "SASRec, sampled softmax": ("sasrec", MANY),
    "gSASRec": ("sasrec", [*MANY, "loss=gbce"]),
    "GRU4Rec, GRU": ("gru4rec", ["cell=gru"]),
    "GRU4Rec, LSTM": ("gru4rec", ["cell=lstm"]),
    "BERT4Rec": ("bert4rec", []),
}


def main() -> None:
    """Run all, or those asked for, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the name of what is to run")
    parser.add_argument("--set", action="append", default=[], help="such as train.bert4rec.epochs=5")
    asked = parser.parse_args()
    table = Table("recommender", "NDCG@10", "fit, s", "rank, s", title="MovieLens, last positive held out")
    with tempfile.TemporaryDirectory() as folder:
        data = leave_movielens(Path(folder))
        for name, (candidate, settings) in VARIANTS.items():
            if asked.only in name:
                settings = [f"train.{candidate}.{setting}" for setting in settings]
                params = load_params(ROOT / "params.yaml", [*settings, *asked.set])
                lists, fit, rank = ours(candidate, data, params)
                table.add_row(name, f"{ndcg(lists, data.holdout().videos):.4f}", f"{fit:.1f}", f"{rank:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
