import numpy as np
import pytest
import scipy.sparse as sp
from safetensors.numpy import save_file

from models.sparse import csr_arrays, load_csr


def test_a_matrix_comes_back(tmp_path):
    matrix = sp.csr_array(np.array([[0, 1.5, 0, 0], [2, 0, 0, -1]], np.float32))
    save_file(csr_arrays(matrix), tmp_path / "m")
    back = load_csr(tmp_path / "m")
    assert back.shape == (2, 4)
    np.testing.assert_array_equal(back.toarray(), matrix.toarray())


def test_arrays_that_do_not_belong_together_are_refused(tmp_path):
    arrays = csr_arrays(sp.csr_array(np.eye(3, dtype=np.float32)))
    save_file(arrays | {"indices": np.array([0, 1, 7], np.int32)}, tmp_path / "m")
    with pytest.raises(ValueError, match="indices"):
        load_csr(tmp_path / "m")
