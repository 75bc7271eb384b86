"""Implicit alternating least squares: a factorisation of who watched what, where everything unwatched counts a little.

Hu, Koren and Volinsky, Collaborative filtering for implicit feedback datasets, ICDM 2008: minimise
`sum over all u, i of c_ui (p_ui - x_u . y_i)^2 + l2 (sum |x_u|^2 + sum |y_i|^2)`, where `p` is 1 for what was watched
and 0 for the rest, and the confidence `c_ui = 1 + alpha w_ui` grows with the strength `w` of the positive. A viewer is
folded in by the normal equations `x_u = (Y'Y + Y'(C_u - I)Y + l2 I)^-1 Y' C_u p_u`, so training viewers' vectors
are not kept. Rendle, Krichene, Zhang and Koren, Revisiting the performance of iALS on item recommendation benchmarks,
RecSys 2022: it is as good as what came after once `l2` and `alpha` (their `1 / alpha_0`) are searched together, on
a logarithmic scale, and there are enough factors. Their regularisation that grows with a viewer's and a video's
events is left out: the solver, of the library implicit, has one constant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from numpy.typing import NDArray

from models.one_thread import one_blas_thread
from models.params import IalsParams
from models.protocol import Diverged, Training
from models.sequences import Sequences
from models.watched import watched_matrix
from models.weights import WEIGHTS, load_arrays, load_config, save_weights

NAME = "ials"

# So many viewers are folded in by one thread: on a busy machine threads wait longer for each other than it takes.
FEW = 256


class Ials:
    """A `models.protocol.Recommender` around implicit's solver, of which the videos' factors are kept."""

    def __init__(self, params: IalsParams) -> None:
        self.params = params
        self._adopt(np.zeros((0, params.factors), np.float32))

    def fit(self, data: Training) -> dict[str, Any]:
        """Factorise training and validation histories: nothing here is stopped early.

        Raises:
            Diverged: the normal equations have no solution in float32, or a factor is not finite.
        """
        solver = _solver(self.params, seed=data.seed)
        confidence = self._confidence(data.history(), data.n_videos)
        with _repeatable():
            solver.fit(confidence, show_progress=False)
        if not np.isfinite(solver.item_factors).all():
            raise Diverged("its factors are not finite: lower alpha or raise l2")
        self._adopt(solver.item_factors)
        software = ", ".join(f"{package} {version(package)}" for package in ("implicit", "numpy", "scipy"))
        return {"device": "cpu", "software": software}

    def viewer_vectors(self, histories: Sequences) -> NDArray[np.float32]:
        """`[viewers, factors]`, solved for each history; zeros for an empty one."""
        confidence = self._confidence(histories, len(self._solver.item_factors))
        self._solver.num_threads = 1 if histories.n_viewers <= FEW else 0
        with _repeatable():
            folded: NDArray[np.float32] = self._solver.recalculate_user(np.arange(histories.n_viewers), confidence)
        return folded

    def video_vectors(self) -> NDArray[np.float32]:
        """`[videos, factors]`."""
        factors: NDArray[np.float32] = self._solver.item_factors
        return factors

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        arrays = {"videos": self.video_vectors()}
        save_weights(folder, recommender=NAME, arrays=arrays, config=self.params.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> "Ials":
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        loaded = cls(IalsParams.model_validate(load_config(folder, recommender=NAME)))
        factors = load_arrays(folder / WEIGHTS, names=["videos"])["videos"]
        # implicit reads as many columns as it was told of, whether or not they are there
        if factors.dtype != np.float32 or factors.shape[1:] != (loaded.params.factors,):
            raise ValueError(
                f"{folder / WEIGHTS} must hold [videos, {loaded.params.factors}] float32. "
                f"Received: {factors.shape} {factors.dtype}"
            )
        loaded._adopt(factors)
        return loaded

    def _adopt(self, factors: NDArray[np.float32]) -> None:
        """Take the videos' `factors` `[videos, factors]`; what a fold-in needs of them all is computed once."""
        self._solver = _solver(self.params)
        self._solver.item_factors = factors

    def _confidence(self, histories: Sequences, n_videos: int) -> sp.csr_matrix:
        """`[viewers, n_videos]` float32, where something was watched; of the old matrix class, which implicit takes."""
        strengths = 1 + self.params.alpha * histories.weights.astype(np.float64)
        return sp.csr_matrix(watched_matrix(histories, strengths, n_videos=n_videos))


def _solver(params: IalsParams, *, seed: int | None = None) -> AlternatingLeastSquares:
    """implicit's, without its conjugate gradients, which stop before the solution."""
    with one_blas_thread():  # it warns of more threads as soon as it is made
        return AlternatingLeastSquares(
            factors=params.factors,
            regularization=params.l2,
            iterations=params.iterations,
            use_cg=False,
            random_state=seed,
        )


@contextmanager
def _repeatable() -> Iterator[None]:
    """The same bits on any number of cores: rows are solved one by one whatever the threads, `Y'Y` is summed by BLAS.

    Raises:
        Diverged: implicit found no solution.
    """
    try:
        with one_blas_thread():
            yield
    except (ModelFitError, ValueError) as error:
        raise Diverged(f"its normal equations have no solution: lower alpha or raise l2 ({error})") from error
