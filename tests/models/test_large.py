"""Memory at the size that one machine is meant to take: many events, and one viewer with very many."""

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

# one viewer has 100,000 events, 500 have 20 each
ONE_PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from models.catalogue import recommender
from models.params import Candidates
from models.protocol import Training
from models.ranking import top_k
from models.sequences import Sequences
from models.two_stage import TwoStage
from models.video_content import VideoContent

name, params, videos = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
draw = np.random.default_rng(0)
rows = [draw.permutation(110_000)[:100_000] % videos, *(draw.choice(videos, 20, replace=False) for _ in range(500))]
lengths = [len(row) for row in rows]
times = np.concatenate([np.arange(length) for length in lengths]) * 60_000
watched = np.concatenate(rows).astype(np.int32)
history = Sequences(np.cumsum([0, *lengths]), watched, times, np.ones(len(watched), np.float32))
none = history.where(np.zeros(len(watched), bool))
model = recommender(name, getattr(Candidates.model_validate({name: params}), name))
content = VideoContent({"text": draw.normal(size=(videos, 16)).astype(np.float32)}, {"text": "text"})
model.fit(Training(history, none, n_videos=videos, now=int(times.max()), seed=0, content=content))
asked = history.take(np.arange(2))
if isinstance(model, TwoStage):
    lists, _ = model.rank(asked, 10)
else:
    lists, _ = top_k(model.viewer_vectors(asked), model.video_vectors(), asked, 10)
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
seen = [bool(np.isin(lists[at], asked.of(at)).any()) for at in range(2)]
print(json.dumps({"peak": peak, "seen": seen, "filled": bool((lists[1] >= 0).all())}))
"""
EPOCH = {"epochs": 1, "jit_compile": False}
SAMPLED = EPOCH | {"negatives": 64}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "params", "videos"),
    [
        *((name, {}, 110_000) for name in ("popularity", "itemknn", "userknn", "hybridcf", "ials", "content")),
        *((name, {}, 4_000) for name in ("ease", "easemarkov")),  # more would not fit, whoever watched them
        *((name, SAMPLED, 110_000) for name in ("sasrec", "gru4rec", "bert4rec")),
        ("twotower", EPOCH, 110_000),
        ("multitask", EPOCH, 4_000),  # as its retriever EASE
    ],
)
def test_one_viewer_of_100_000_events_takes_two_gigabytes_at_most(name, params, videos):
    command = [sys.executable, "-W", "error", "-c", ONE_PROGRAM, name, json.dumps(params), str(videos)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["seen"], found["filled"]) == ([False, False], True)
    assert found["peak"] < 2e9, ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("name", "folded"), [("itemknn", 1000), ("userknn", 500)])
def test_ten_million_events_fit_into_eight_gigabytes(name, folded):
    command = [sys.executable, "-W", "error", "-c", PROGRAM, name, str(folded)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["peak"] < 8e9, ran.stdout
