from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from models.calibration import Line
from models.explain import contributions
from models.feedback import Feedback, VideoFacts
from models.multitask import MultiTask
from models.multitask_examples import Newest, examples_of
from models.multitask_judge import auc, fit_lines, judged_lists, units
from models.multitask_network import FEATURES, TOLD, MultiTaskNetwork, combined, mean_loss
from models.params import MultiTaskParams, TaskWeights
from models.protocol import Diverged
from models.ranking import NONE
from models.ranking_features import RankingFeatures
from models.two_stage import Retrievers
from tests.models.histories import saved_bytes, training
from tests.models.sequence_models import weights_of_two_processes
from tests.models.test_two_stage import DOWN, UP
from tests.tasks.prepared_folder import DAY, sequences

TINY = {
    "retrievers": {"easemarkov": {"l2": 1.0}, "itemknn": {"shrink": 0.0}, "popularity": None},
    "each": 6,
    "newest": 0.3,
    "valid": 0.3,
    "negatives": 3,
    "expert_dim": 8,
    "hidden": 4,
    "epochs": 3,
    "learning_rate": 0.01,
    "batch_size": 32,
}
N_VIDEOS = 20


def watched(seed=0, viewers=60, length=9):
    """Viewers of even and of odd videos."""
    rng = np.random.default_rng(seed)
    return [(rng.permutation(N_VIDEOS // 2)[:length] * 2 + viewer % 2).tolist() for viewer in range(viewers)]


def feedback():
    """All that was watched, of which the lower half is liked, and the seconds are the video's number."""
    rows = watched()
    viewers, videos = np.repeat(np.arange(len(rows)), 9), np.concatenate(rows).astype(np.int32)
    times = np.tile(np.arange(9) * DAY, len(rows))
    told = {"liked": (videos < 10).astype(np.float32), "watch": np.log1p(videos).astype(np.float32)}
    return Feedback(viewers, videos, times, told)


def data(**options):
    facts = replace(VideoFacts.unknown(N_VIDEOS), seconds=np.arange(1, N_VIDEOS + 1, dtype=np.float32))
    return training(*watched(), n_videos=N_VIDEOS, **{"feedback": feedback(), "facts": facts} | options)


def fitted(*, data=None, **params):
    model = MultiTask(MultiTaskParams.model_validate(TINY | params))
    return model, model.fit(data or globals()["data"]())


@pytest.fixture(scope="module")
def learnt():
    """A ranker that had the time to learn, and what its training said."""
    return fitted(epochs=30, patience=30)


def test_it_tells_what_viewers_will_do_better_than_a_constant(learnt):
    _, facts = learnt
    assert list(facts["tasks"]) == ["positive", "watch", "liked"]
    assert facts["tasks"]["liked"]["auc"] > 0.95
    assert facts["tasks"]["watch"]["rmse"] < facts["tasks"]["watch"]["base_rmse"] / 2
    assert facts["tasks"]["positive"]["log_loss"] < facts["tasks"]["positive"]["base_log_loss"]
    assert list(facts["ranking"]) == ["multitask ndcg@10", "easemarkov ndcg@10", "itemknn ndcg@10"]


def test_weights_decide_what_comes_first(learnt, tmp_path):
    learnt[0].save(tmp_path)
    model = MultiTask.load(tmp_path)
    model.params = model.params.model_copy(update={"weights": TaskWeights(positive=0.0, watch=-1.0)})
    alike = []
    for videos in watched()[:30]:
        history, unseen = sequences(videos[:5]), np.sort(videos[5:])
        _, scores = model.rank(history, 6)
        assert all(one >= other for one, other in pairwise(scores[0]))
        alike.append(np.corrcoef(model.score(history, unseen)[0], unseen)[0, 1])
    assert np.mean(alike) < -0.5  # the seconds watched are the video's number


def test_lists_hold_nothing_seen_and_nobody_depends_on_who_else_is_asked_for(learnt):
    model, _ = learnt
    histories = sequences(*watched(seed=1), [], range(N_VIDEOS))
    lists, _ = model.rank(histories, 5)
    for viewer in (0, 17, 60, 61):
        alone, _ = model.rank(histories.take(np.array([viewer])), 5)
        assert alone[0].tolist() == lists[viewer].tolist()
        assert not set(lists[viewer].tolist()) & set(histories.of(viewer).tolist())
    assert lists[61].tolist() == [NONE] * 5


def test_what_was_saved_loads_to_the_same_bytes_and_lists(learnt, tmp_path):
    model, _ = learnt
    first = saved_bytes(model, tmp_path / "a")
    assert list(first) == ["config.json", "weights.safetensors"]
    loaded = MultiTask.load(tmp_path / "a")
    assert saved_bytes(loaded, tmp_path / "b") == first
    histories = sequences(*watched(seed=1), [])
    for one, other in zip(loaded.rank(histories, 5), model.rank(histories, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_why_a_video_is_found_by_leaving_history_out(learnt):
    model, history = learnt[0], sequences(watched()[0][:4])
    lists, scores = model.rank(history, 3)
    seen, parts, exact = contributions(model, history, lists[0])
    assert not exact
    assert (parts.shape, seen.tolist()) == ((3, 4), sorted(history.videos.tolist()))
    without = model.score(history.where(history.videos != seen[0]), lists[0])
    np.testing.assert_allclose(parts[:, 0], scores[0] - without[0], atol=1e-6)


def test_a_training_that_goes_on_from_its_checkpoint_ends_as_one_never_stopped(tmp_path):
    whole, facts = fitted(epochs=4)
    model, told = fitted(epochs=4, data=data(checkpoints=tmp_path / "kept"))
    assert (tmp_path / "kept").exists()
    again, facts_again = fitted(epochs=4, data=data(checkpoints=tmp_path / "kept"))
    assert facts_again == told == facts
    assert (
        saved_bytes(again, tmp_path / "a") == saved_bytes(whole, tmp_path / "b") == saved_bytes(model, tmp_path / "c")
    )


@pytest.mark.slow
def test_two_processes_train_to_the_same_bytes_and_say_nothing(tmp_path):
    one, two = weights_of_two_processes("tests.models.test_multitask", tmp_path, epochs=2)
    assert one == two


def test_a_learning_rate_beyond_reason_diverges():
    with pytest.raises(Diverged, match="lower learning_rate"):
        fitted(learning_rate=1e38)


def test_viewers_of_one_event_are_nothing_to_learn_from():
    with pytest.raises(Diverged, match=r"two or more viewers with two positives\. Received: 1"):
        fitted(data=training([0], [1], [0, 1], n_videos=2))


def test_without_feedback_or_facts_the_next_positive_is_learnt():
    _, facts = fitted(data=training(*watched(), n_videos=N_VIDEOS), experts=1)
    assert list(facts["tasks"]) == ["positive"]


class TestNewest:
    def test_the_newest_share_is_what_is_told_of_and_one_at_least(self):
        newest = Newest.of(training([0, 1, 2, 3, 4], [5, 6], [7], n_videos=9), share=0.4)
        assert [newest.older.of(viewer).tolist() for viewer in range(3)] == [[0, 1, 2], [5], [7]]
        assert [newest.positives.of(viewer).tolist() for viewer in range(3)] == [[3, 4], [6], []]

    def test_feedback_counts_from_the_first_of_the_newest_on(self):
        told = {"liked": np.array([1, 0, 1], np.float32), "shared": np.array([0, 0, 0], np.float32)}
        given = Feedback(np.array([0, 0, 1]), np.array([8, 8, 8], np.int32), np.array([2, 3, 9]) * DAY, told)
        newest = Newest.of(training([0, 1, 2, 3, 4], [7], n_videos=9, feedback=given), share=0.4)
        assert newest.feedback.times.tolist() == [3 * DAY]
        assert newest.tasks() == ["positive"]  # one event is not liked: there is nothing to tell it from


class TestExamples:
    @pytest.fixture
    def examples(self):
        history = training([0, 5], [1, 4], [0, 2], n_videos=6)
        told = {"liked": np.array([1, 0], np.float32)}
        given = Feedback(np.array([0, 1]), np.array([3, 4], np.int32), np.array([1, 1]) * DAY, told)
        newest = Newest.of(replace(history, feedback=given), share=0.5)
        features = RankingFeatures.learnt(newest.older, VideoFacts.unknown(6), None, now=0, half_life_days=1.0)
        params = MultiTaskParams(each=1, valid=0.4, negatives=1)
        return examples_of(Retrievers({"up": UP, "down": DOWN}), newest, features=features, params=params, seed=0)

    def test_what_became_of_what_was_proposed(self, examples):
        assert examples.tasks == ["positive", "liked"]
        rows = {}
        for part in (examples.learn, examples.judge):
            for viewer, video, told in zip(part.pool.viewers, part.pool.videos, part.told, strict=True):
                rows[part.relevant.of(viewer)[0], int(video)] = [None if np.isnan(one) else one for one in told]
        # `up` proposes 5 and `down` 0 or 1; 3 and 4 were shown
        assert rows[5, 5] == [1, None]
        assert rows[5, 3] == [None, 1]
        assert rows[4, 4] == [None, 0]
        assert rows[2, 5][0] == 0

    def test_viewers_learn_or_judge(self, examples):
        assert (examples.learn.relevant.n_viewers, examples.judge.relevant.n_viewers) == (2, 1)
        lists = judged_lists(examples.judge, np.zeros(len(examples.judge.pool), np.float32))
        assert list(lists) == ["multitask ndcg@10", "up ndcg@10", "down ndcg@10"]


class TestNetwork:
    @pytest.mark.parametrize("experts", [1, 3])
    def test_it_is_the_papers_equation(self, experts):
        params = MultiTaskParams(experts=experts, expert_dim=4, hidden=3, dropout=0.0)
        network = MultiTaskNetwork(params, columns=5, tasks=["positive", "watch"])
        x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)

        def dense(layer, rows):
            return rows @ np.asarray(layer.kernel) + np.asarray(layer.bias)

        shared = np.maximum(dense(network.experts, x), 0).reshape(7, experts, 4)
        for task in range(2):
            raw = np.exp(dense(network.gates[task], x)) if experts > 1 else np.ones((7, 1))
            mixed = np.einsum("re,red->rd", raw / raw.sum(axis=1, keepdims=True), shared)
            told = dense(network.answers[task], np.maximum(dense(network.hidden[task], mixed), 0))
            np.testing.assert_allclose(network.tell(x)[:, task], told[:, 0], rtol=1e-4, atol=1e-6)

    def test_what_is_not_known_adds_nothing_to_the_loss(self):
        network = MultiTaskNetwork(MultiTaskParams(), columns=1, tasks=["liked", "watch"])
        outputs = np.array([[0.5, 2.0], [-1.0, 9.0]], np.float32)
        truth = np.array([[1, 3], [0, np.nan]], np.float32)
        expected = (np.log1p(np.exp(-0.5)) + 0.5 + np.log1p(np.exp(-1.0))) / 2
        inputs = {FEATURES: np.zeros((2, 1), np.float32), TOLD: truth}
        assert float(network.compute_loss(x=inputs, y_pred=outputs)) == pytest.approx(expected, rel=1e-5)
        assert mean_loss(outputs, truth, ["liked", "watch"]) == pytest.approx(expected, rel=1e-6)

    def test_scores_are_weighted_chances_and_values(self):
        told = np.array([[0.0, 3.0], [np.log(3), 1.0]], np.float32)
        np.testing.assert_allclose(combined(told, ["liked", "watch"], {"liked": 2.0, "watch": 0.5}), [2.5, 2.0])
        np.testing.assert_allclose(combined(told, ["liked", "watch"], {"shared": 1.0}), [0, 0])


class TestJudge:
    def test_auc_counts_pairs_in_order_and_ties_half(self):
        labels = np.array([1, 0, 1, 0], np.float32)
        assert auc(np.array([3, 2, 2, 1], np.float32), labels) == (1 + 1 + 0.5 + 1) / 4
        assert auc(np.array([1, 2], np.float32), np.array([1, 1], np.float32)) is None

    def test_values_are_learnt_at_one_scale_and_told_at_their_own(self):
        truth = np.array([[10, np.nan], [30, 1]], np.float32)
        scale = units(truth, ["watch", "liked"])
        assert scale[1] == Line()
        told = np.stack([scale[0](truth[:, 0]), np.zeros(2, np.float32)], axis=1)
        assert told[:, 0].tolist() == [-1, 1]
        line = fit_lines(told, truth, ["watch", "liked"], scale)[0]
        np.testing.assert_allclose(line(told[:, 0]), [10, 30], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"retrievers": dict.fromkeys(("easemarkov", "itemknn", "popularity"))}, "retrievers must have one"),
        ({"weights": {"positive": 0.0}}, "weights must have one that is not 0"),
        ({"newest": 1.0}, "newest\n  Input should be less than 1"),
        ({"weights": {"laughed": 1.0}}, "weights.laughed\n  Extra inputs"),
    ],
)
def test_parameters_out_of_range_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        MultiTaskParams.model_validate(changes)
