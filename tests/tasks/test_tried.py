import optuna
from optuna.trial import TrialState

from infra.registry import Registry
from infra.settings import Settings
from infra.studies import FAILED, VALUES
from tasks.tried import EPOCHS, Tried, log_trial


def trials():
    """One of each way to end."""
    study = optuna.create_study(direction="maximize")
    for _ in range(4):
        study.ask().set_user_attr(VALUES, {"l2": 2.5, "half_life_days": None})
    study.tell(0, 0.25)
    trial = optuna.Trial(study, study.trials[1]._trial_id)
    trial.set_user_attr(EPOCHS, [{"loss": 3.0, "ndcg@10": 0.125}])
    trial.report(0.125, 1)
    study.tell(1, state=TrialState.PRUNED)
    optuna.Trial(study, study.trials[2]._trial_id).set_user_attr(FAILED, "loss is not finite")
    study.tell(2, state=TrialState.FAIL)
    study.tell(3, state=TrialState.FAIL)
    return [Tried.of(trial) for trial in study.trials]


def test_each_way_to_end_is_a_row():
    rows = [(each.state, each.value, each.reason) for each in trials()]
    assert rows == [
        ("complete", 0.25, None),
        ("pruned", 0.125, None),
        ("fail", None, "loss is not finite"),
        ("fail", None, "cut off"),
    ]
    assert [each.seconds is None for each in trials()] == [False, False, False, True]
    assert all(each.values == {"l2": 2.5, "half_life_days": None} for each in trials())


def test_each_is_a_child_run_and_is_written_once(tmp_path):
    registry = Registry(Settings(home=tmp_path), "films")
    parent = registry.run("study", title="tune ease", tags={})
    for tried in [*trials(), *trials()]:
        log_trial(tried, registry, study="study", parent=parent)
    client = registry._client
    runs = client.search_runs([registry.experiment], filter_string=f"tags.`mlflow.parentRunId` = '{parent}'")
    runs = sorted(runs, key=lambda run: run.info.run_name)
    assert [(run.info.run_name, run.info.status) for run in runs] == [
        ("trial 0", "FINISHED"),
        ("trial 1", "KILLED"),
        ("trial 2", "FAILED"),
        ("trial 3", "FAILED"),
    ]
    assert {run.data.params["l2"] for run in runs} == {"2.5"}
    assert runs[0].data.metrics["ndcg_at_10"] == 0.25
    assert [(m.step, m.value) for m in client.get_metric_history(runs[1].info.run_id, "epoch.loss")] == [(1, 3.0)]
    assert runs[2].data.tags["nightreel.reason"] == "loss is not finite"
