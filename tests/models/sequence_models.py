"""What tests of sequence models share: a chain to learn, kills on the way, and other processes."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from models.early_stopping import ndcg
from models.params import PopularityParams
from models.popularity import Popularity
from models.ranking import top_k
from tests.models.histories import dense, training

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
