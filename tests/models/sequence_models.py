"""What holds of every sequence model, and what its tests need: a chain to learn, kills on the way, other processes."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from models.early_stopping import ndcg
from models.network_state import weights_of
from models.params import PopularityParams
from models.popularity import Popularity
from models.protocol import Diverged
from models.ranking import top_k
from tests.models.histories import dense, saved_bytes, scores, training
from tests.tasks.prepared_folder import sequences

CHAIN = [[(start + step) % 12 for step in range(9)] for start in range(12)]
NEXT = [[(start + 9) % 12] for start in range(12)]
PROGRAM = "import sys, pathlib; from {module} import fitted; fitted(**{params})[0].save(pathlib.Path(sys.argv[1]))"


class Killed(BaseException):
    """As a signal would end it: nothing catches it."""


def chain_training(**options):
    """Every video is followed by the next one, round and round."""
    return training(*CHAIN, valid=NEXT, **options)


def judged(model, data):
    """NDCG@10 of `model` on what `data` holds back."""
    lists, _ = top_k(dense(model.viewer_vectors(data.train)), dense(model.video_vectors()), data.train, 10)
    return ndcg(lists, data.valid)


def judged_popularity(data):
    model = Popularity(PopularityParams(half_life_days=None))
    model.fit(data)
    return judged(model, data)


def killed_and_resumed(fitted, kept, *, after, **params):
    """What `fitted` gives of a training killed after each of the epochs `after`, and the epochs that were run."""
    ran = []

    def killed_after(last):
        def on_epoch(epoch, epochs, metrics):
            ran.append(epoch)
            if epoch == last:
                raise Killed

        return chain_training(checkpoints=kept, on_epoch=on_epoch)

    for last in after:
        with pytest.raises(Killed):
            fitted(data=killed_after(last), **params)
    return *fitted(data=killed_after(None), **params), ran


def weights_of_two_processes(module, tmp_path, **params):
    """SHA-256 of the weights that two processes train to, which have nothing to say."""
    digests = []
    for name in ("one", "two"):
        program = PROGRAM.format(module=module, params=params)
        command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / name)]
        ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", "")
        digests.append(sha256((tmp_path / name / "weights.safetensors").read_bytes()).hexdigest())
    return digests


class SequenceModelTests:
    """A module's subclass names its `fitted`; the fixture `learnt` is the module's too.

    Fixtures and settings that a model differs in are overridden there.
    """

    fitted = None
    killed_with: ClassVar = {"negatives": 5}
    one_video_with: ClassVar = {"epochs": 1}

    @pytest.fixture(params=["mixed_bfloat16"])
    def precision(self, request):
        return request.param

    # the loop that decides is SASRec's, whose bytes are compared each time
    @pytest.fixture(params=[pytest.param(jit, marks=pytest.mark.slow) for jit in (True, False)])
    def jit(self, request):
        return request.param

    def test_it_is_better_than_popularity(self, learnt):
        data = chain_training()
        assert judged(learnt[0], data) > judged_popularity(data)

    def test_an_empty_history_has_finite_scores(self, learnt):
        assert np.isfinite(scores(learnt[0], sequences([], []))).all()

    def test_a_viewers_vector_does_not_depend_on_who_else_is_asked_for(self, learnt):
        model, _ = learnt
        alone = model.viewer_vectors(sequences([2, 3, 4]))
        together = model.viewer_vectors(sequences(*[[7, 8]] * 300, [2, 3, 4]))
        np.testing.assert_allclose(together[-1:], alone, atol=1e-5)

    def test_of_a_very_long_history_only_the_newest_window_is_read(self, learnt):
        model, _ = learnt
        long = (np.random.default_rng(0).integers(0, 12, 100_000)).tolist()
        vectors = model.viewer_vectors(sequences(long, long[-6:]))  # 6: the `max_length` of the tests' models
        np.testing.assert_array_equal(vectors[0], vectors[1])

    def test_what_was_saved_loads_to_the_same_bytes_and_vectors(self, learnt, tmp_path):
        model, _ = learnt
        first = saved_bytes(model, tmp_path / "a")
        loaded = type(model).load(tmp_path / "a")
        assert saved_bytes(loaded, tmp_path / "b") == first
        histories = sequences([2, 3, 4], [])
        np.testing.assert_allclose(loaded.viewer_vectors(histories), model.viewer_vectors(histories), atol=1e-6)
        np.testing.assert_array_equal(loaded.video_vectors(), model.video_vectors())

    def test_a_killed_training_that_goes_on_ends_as_one_never_stopped(self, tmp_path):
        params = {"epochs": 4, "patience": 5} | self.killed_with
        whole, facts = self.fitted(**params)
        model, facts_again, ran = killed_and_resumed(self.fitted, tmp_path / "kept", after=(1, 2), **params)
        assert (ran, facts_again) == ([1, 2, 3, 4], facts)
        assert saved_bytes(model, tmp_path / "a") == saved_bytes(whole, tmp_path / "b")

    def test_a_learning_rate_beyond_reason_diverges(self):
        with pytest.raises(Diverged, match="lower learning_rate"):
            self.fitted(learning_rate=1e38)

    def test_one_video_and_viewers_without_events_can_be_trained_on(self):
        model, _ = self.fitted(data=training([0], [], [0, 0]), **self.one_video_with)
        assert scores(model, sequences([0], [])).shape == (2, 1)

    def test_mixed_precision_keeps_float32_weights_and_vectors(self, precision):
        model, facts = self.fitted(precision=precision, epochs=1)
        assert {array.dtype for array in weights_of(model._network)} == {np.dtype(np.float32)}
        assert model.viewer_vectors(sequences([1])).dtype == np.float32
        assert np.isfinite([epoch["loss"] for epoch in facts["epochs"]]).all()

    def test_two_processes_train_to_the_same_bytes_and_say_nothing(self, tmp_path, jit):
        one, two = weights_of_two_processes(self.__module__, tmp_path, epochs=2, jit_compile=jit)
        assert one == two
