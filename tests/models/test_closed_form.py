import numpy as np
import pytest
import scipy.sparse as sp

from models.closed_form import item_weights, needed_bytes
from models.protocol import Diverged


def test_a_square_that_does_not_fit_is_refused_before_it_is_begun(monkeypatch):
    monkeypatch.setattr("models.closed_form.available_bytes", lambda: 8 * 10**9)
    monkeypatch.setattr("models.closed_form.gram", lambda *_: pytest.fail("begun"))
    watched = sp.csr_array((2, 100_000), dtype=np.float32)
    sentence = (
        r"^it needs 41\.1 GB of memory for the square of 100,000 videos, and 8 GB are available: "
        "learn from fewer videos, or leave it out$"
    )
    with pytest.raises(Diverged, match=sentence):
        item_weights(watched, l2=1.0, neighbours=300)


def test_what_fits_to_the_byte_is_begun(monkeypatch):
    watched = sp.csr_array(np.eye(3, dtype=np.float32))
    monkeypatch.setattr("models.closed_form.available_bytes", lambda: needed_bytes(3, 2))
    assert item_weights(watched, l2=1.0, neighbours=2).shape == (3, 3)
    monkeypatch.setattr("models.closed_form.available_bytes", lambda: needed_bytes(3, 2) - 1)
    with pytest.raises(Diverged):
        item_weights(watched, l2=1.0, neighbours=2)


@pytest.mark.parametrize("neighbours", [10, 900])
def test_it_needs_no_more_than_is_said(neighbours):
    import tracemalloc

    watched = sp.random_array((300, 1200), density=0.02, format="csr", dtype=np.float32, rng=np.random.default_rng(1))
    tracemalloc.start()
    item_weights(watched, l2=5.0, neighbours=neighbours)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 4 * 1200**2 < peak <= needed_bytes(1200, neighbours)
