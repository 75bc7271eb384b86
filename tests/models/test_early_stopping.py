import numpy as np
import pytest

from models.early_stopping import EarlyStopping, ndcg
from tests.tasks.prepared_folder import sequences


def run(*figures, patience=2):
    stopping = EarlyStopping(patience)
    for at, figure in enumerate(figures):
        if stopping.stopped:
            break
        stopping.after_epoch({"loss": 1.0} | ({} if figure is None else {"ndcg@10": figure}), [np.array(at)])
    return stopping


def test_it_stops_after_as_many_epochs_without_a_rise_as_patience_says():
    stopping = run(0.1, 0.3, 0.2, 0.3, 0.9)
    assert stopping.stopped
    assert (len(stopping.epochs), stopping.best_epoch, stopping.best) == (4, 2, [1])


def test_it_goes_on_while_the_metric_rises():
    stopping = run(0.0, 0.1, 0.05, 0.2)
    assert not stopping.stopped
    assert stopping.best == [3]


def test_without_a_validation_set_it_never_stops_and_keeps_the_newest():
    stopping = run(None, None, None, None)
    assert not stopping.stopped
    assert stopping.best == [3]


def test_ndcg_by_hand():
    lists = np.array([[5, 1, 2], [1, 2, 3], [7, -1, -1], [4, 4, 4]], np.int32)
    relevant = sequences([1, 9], [1], [], [6])
    first = (1 / np.log2(3)) / (1 + 1 / np.log2(3))
    assert ndcg(lists, relevant) == pytest.approx((first + 1 + 0) / 3)
