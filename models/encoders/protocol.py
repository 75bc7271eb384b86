"""What turns a video's text, frames or sound into vectors: one small protocol."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", contravariant=True)


class Encoder(Protocol[Item]):
    """A pretrained or tuned encoder.

    Attributes:
        dim: length of its vectors.
        digest: SHA-256 over weights and preprocessing: equal digests give equal vectors for equal items.
        licence: SPDX id of the weights' licence, or `unknown`.
    """

    @property
    def dim(self) -> int: ...  # noqa: D102

    @property
    def digest(self) -> str: ...  # noqa: D102

    @property
    def licence(self) -> str: ...  # noqa: D102

    def encode(self, batch: Sequence[Item]) -> NDArray[np.float32]:
        """`[n, dim]`. The vector of an item does not depend on what else is in `batch`, to the last bit."""
