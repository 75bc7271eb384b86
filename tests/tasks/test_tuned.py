import pytest

from infra.errors import Refused
from tasks import paths
from tasks.params import load_params
from tasks.search import Search
from tasks.split import HOLDOUT, TRAIN, VALID
from tasks.tried import Tried
from tasks.tuned import Tuned
from tests.tasks.prepared_folder import leave_prepared

PRESENT = {"l2": 100.0, "half_life_days": None}


@pytest.fixture
def rank(tmp_path):
    """Ranks trials of EASE, whose parameters in `params.yaml` are PRESENT."""
    leave_prepared(tmp_path / paths.PREPARED, [[0, 1, 2], [1, 2, 0]], [[TRAIN, VALID, HOLDOUT]] * 2)
    params = tmp_path / "params.yaml"
    params.write_text("name: films\ntrain:\n  ease: {l2: 100.0}  # as it was\n", encoding="utf-8")
    search = Search.over(tmp_path, "ease", load_params(params))
    return lambda *trials: Tuned.of(search, trials, run="one", params=params, out=tmp_path / "s.diff")


def tried(number, state, value, *, l2=7.5, **known):
    return Tried(number=number, state=state, value=value, values=PRESENT | {"l2": l2}, seconds=1.0, **known)


def test_whole_trials_come_first_and_the_best_is_proposed(rank, tmp_path):
    known = (
        tried(0, "complete", 0.1, l2=100.0),
        tried(1, "fail", None),
        tried(2, "pruned", 0.9),
        tried(3, "complete", 0.2),
    )
    tuned = rank(*known)
    assert [each.number for each in tuned.trials] == [3, 0, 2, 1]
    assert (tuned.present, tuned.proposal) == (0, tmp_path / "s.diff")
    assert "-  ease: {l2: 100.0}  # as it was\n+  ease: {l2: 7.5}" in tuned.diff
    assert (tmp_path / "s.diff").read_text() == tuned.diff


def test_where_the_present_is_the_best_an_older_proposal_is_gone(rank, tmp_path):
    present = tried(0, "complete", 0.3, l2=100.0)
    assert rank(present, tried(1, "complete", 0.4)).diff
    tuned = rank(present, tried(1, "complete", 0.2))
    assert (tuned.present, tuned.diff, tuned.proposal) == (0, "", None)
    assert not (tmp_path / "s.diff").exists()


def test_without_a_whole_trial_there_is_no_best(rank):
    with pytest.raises(Refused, match="No trial of ease was finished: diverged"):
        rank(tried(0, "fail", None, reason="diverged"))
    with pytest.raises(Refused, match="the time was over before the first"):
        rank()
