import optuna
import pytest
from optuna.trial import TrialState

from infra.errors import Unreachable
from infra.settings import Settings
from infra.studies import FAILED, VALUES, ended, opened_study, try_first


def states(study):
    return [trial.state.name for trial in study.trials]


def test_a_trial_that_was_cut_off_is_queued_again_once(tmp_path):
    settings = Settings(home=tmp_path)
    with opened_study("one", settings) as study:
        trial = study.ask()
        drawn = trial.suggest_float("x", 0.0, 1.0)
        trial.set_user_attr(VALUES, {"x": drawn})
    for expected in (["FAIL", "RUNNING"], ["FAIL", "FAIL", "RUNNING"]):
        with opened_study("one", settings) as study:
            trial = study.ask()
            assert (trial.suggest_float("x", 0.0, 1.0) == drawn) == (len(expected) == 2)
            assert states(study) == expected
            assert ended(study) == []


def test_a_trial_that_was_cut_off_while_it_was_drawn_is_not_queued_again(tmp_path):
    settings = Settings(home=tmp_path)
    with opened_study("one", settings) as study:
        study.ask().suggest_float("x", 0.0, 1.0)
    with opened_study("one", settings) as study:
        assert states(study) == ["FAIL"]


def test_what_failed_for_a_reason_or_ended_is_not_tried_again(tmp_path):
    settings = Settings(home=tmp_path)
    with opened_study("one", settings) as study:
        failed = study.ask()
        failed.set_user_attr(FAILED, "diverged")
        study.tell(failed, state=TrialState.FAIL)
        study.tell(study.ask(), 0.5)
    with opened_study("one", settings) as study:
        assert states(study) == ["FAIL", "COMPLETE"]
        assert [trial.number for trial in ended(study)] == [0, 1]


def test_values_are_queued_once(tmp_path):
    with opened_study("one", Settings(home=tmp_path)) as study:
        for _ in range(2):
            try_first(study, {"x": 0.25})
        trial = study.ask()
        assert trial.suggest_float("x", 0.0, 1.0) == 0.25
        assert trial.user_attrs[VALUES] == {"x": 0.25}
        assert len(study.trials) == 1


def test_another_database_can_be_named(tmp_path):
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    with opened_study("one", Settings(home=tmp_path / "home", tuning_url=url)) as study:
        study.tell(study.ask(), 0.5)
    assert optuna.load_study(study_name="one", storage=url).best_value == 0.5
    assert not list((tmp_path / "home").rglob("*.db"))


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "postgresql+nothing://me:secret@localhost/x", "x"])
def test_a_database_that_does_not_answer_is_a_sentence(tmp_path, url):
    settings = Settings(home=tmp_path, tuning_url=url)
    with (
        pytest.raises(Unreachable, match=r"did not answer: .* Check NIGHTREEL_TUNING_URL") as told,
        opened_study("one", settings),
    ):
        pass
    assert "secret" not in str(told.value)
