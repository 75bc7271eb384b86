"""Recommenders of one method, ours and the peers', behind one call: a case and a seed in, lists and seconds out.

implicit is what our iALS is made of, and runs in this process; RecTools and RecBole want other versions of NumPy and
PyTorch, so each run of theirs is a process of the environment in `benchmarks/peers.txt`, whose start is not counted.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender

from benchmarks.cases import Case
from benchmarks.peer_files import Answer, Asked
from models.catalogue import NEURAL, recommender
from models.params import Candidates
from models.ranking import top_k
from models.sequences import Sequences
from models.windows import training_windows
from tasks.split import HOLDOUT, VALID

ROOT = Path(__file__).parents[1]
PEERS = {
    "implicit": frozenset({"itemknn", "ials"}),
    "rectools": frozenset({"popularity", "itemknn", "ials", "ease", "sasrec", "bert4rec"}),
    "recbole": frozenset({"itemknn", "userknn", "ease", "gru4rec", "sasrec"}),
}
K = 20


def run(library: str, method: str, case: Case, *, train: Candidates, seed: int, python: Path | None) -> Answer:
    """Fit `method` as `library` (`ours` or a key of `PEERS`) has it, and recommend to all judged viewers.

    What is told holds `load` as well, the machine's load average at the end.
    """
    params = getattr(train, method)
    if library in IN_PROCESS:
        answer = IN_PROCESS[library](method, case, params, seed)
    elif python is None:
        raise SystemExit(f"{library} needs --peer-python: see benchmarks/peers.txt")
    else:
        answer = in_its_own_process(library, method, case, params.model_dump(), seed, python)
    return Answer(answer.lists, answer.told | {"load": os.getloadavg()[0]})


def ours(method: str, case: Case, params: Any, seed: int) -> Answer:
    """The candidate as the night trains it."""
    model, known = recommender(method, params), case.known.take(case.judged)
    ends: list[float] = []
    training = replace(case.training(seed), on_epoch=lambda *_: ends.append(time.perf_counter() - began))
    began = time.perf_counter()
    facts = model.fit(training)
    told: dict[str, Any] = {"fit": time.perf_counter() - began}
    if method in NEURAL:
        windows, _ = training_windows(training.train, length=params.max_length, n_videos=case.n_videos)
        told |= {"ends": ends, "best": facts["best_epoch"], "sequences": len(windows)}
    began = time.perf_counter()
    lists, _ = top_k(model.viewer_vectors(known), model.video_vectors(), known, K)
    return Answer(lists, told | {"rank": time.perf_counter() - began})


def by_implicit(method: str, case: Case, params: Any, seed: int) -> Answer:
    """The model of the library implicit of that method, with the same parameters."""
    learnt = _matrix(case.training(seed).history(), case.n_videos)
    known = _matrix(case.known.take(case.judged), case.n_videos)
    model = IMPLICIT[method](params, seed)
    began = time.perf_counter()
    model.fit(learnt, show_progress=False)
    fitted = time.perf_counter()
    folds_in = {"recalculate_user": True} if method == "ials" else {}
    lists, scores = model.recommend(np.arange(known.shape[0]), known, N=K, **folds_in)
    told = {"fit": fitted - began, "rank": time.perf_counter() - fitted}
    return Answer(np.where(scores > -1e30, lists, -1).astype(np.int32), told)


def _matrix(histories: Sequences, n_videos: int) -> sp.csr_matrix:
    arrays = (histories.weights, histories.videos, histories.offsets)
    return sp.csr_matrix(arrays, shape=(histories.n_viewers, n_videos))


def _als(of: Any, seed: int) -> AlternatingLeastSquares:
    confidence = 1 + of.alpha  # which is what implicit multiplies an entry by, the 1 included
    return AlternatingLeastSquares(
        factors=of.factors, regularization=of.l2, alpha=confidence, iterations=of.iterations, random_state=seed
    )


IMPLICIT: dict[str, Callable[[Any, int], Any]] = {
    "itemknn": lambda of, _: CosineRecommender(K=of.neighbours),  # which has no shrinkage
    "ials": _als,
}


def in_its_own_process(
    library: str, method: str, case: Case, params: dict[str, Any], seed: int, python: Path
) -> Answer:
    """Through files: `benchmarks.peer_files`. Raises `SystemExit` with what the peer said when it fails."""
    known = case.known
    stops = (case.parts == VALID)[case.parts != HOLDOUT]
    with tempfile.TemporaryDirectory() as folder:
        events = (known.viewer_of_event(), known.videos.astype(np.int64), stops)
        Asked(method, params, seed, K, case.n_videos, *events, case.judged, Path(folder)).leave()
        script = ROOT / "benchmarks" / f"{library}_peer.py"
        ran = subprocess.run(
            [python.absolute(), script, folder], capture_output=True, text=True, check=False, cwd=folder
        )
        if ran.returncode:
            raise SystemExit(f"{library}'s {method} failed:\n{ran.stderr[-3000:]}")
        return Answer.read(Path(folder))


IN_PROCESS: dict[str, Callable[[str, Case, Any, int], Answer]] = {"ours": ours, "implicit": by_implicit}
