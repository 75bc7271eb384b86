"""Neighbours among many: memory at the size that one machine is meant to take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# 10 million events of 200,000 viewers over 50,000 videos, both as unequal as in real logs
PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
from models.catalogue import recommender
from models.params import Candidates
from models.protocol import Training
from models.sequences import Sequences

viewers, videos, events = 200_000, 50_000, 10_000_000
draw = np.random.default_rng(0)
activity = draw.lognormal(0, 1, viewers)
lengths = draw.multinomial(events, activity / activity.sum())
popularity = np.cumsum(1 / (np.arange(videos) + 20) ** 0.8)
watched = np.searchsorted(popularity / popularity[-1], draw.random(events)).astype(np.int32)
offsets = np.concatenate([[0], np.cumsum(lengths)])
history = Sequences(offsets, watched, np.arange(events), np.ones(events, np.float32))
none = history.where(np.zeros(events, bool))
name, folded = sys.argv[1], int(sys.argv[2])
model = recommender(name, getattr(Candidates.model_validate({name: {"similarity": "pearson"}}), name))
began = time.perf_counter()
model.fit(Training(history, none, n_videos=videos, now=events, seed=0))
fitted = time.perf_counter()
vectors = model.viewer_vectors(history.take(np.arange(folded)))
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
seconds = [round(fitted - began, 1), round(time.perf_counter() - fitted, 1)]
print(json.dumps({"peak": peak, "seconds": seconds, "entries": int(vectors.nnz)}))
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("name", "folded"), [("itemknn", 1000), ("userknn", 500)])
def test_ten_million_events_fit_into_eight_gigabytes(name, folded):
    command = [sys.executable, "-W", "error", "-c", PROGRAM, name, str(folded)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["peak"] < 8e9, ran.stdout
