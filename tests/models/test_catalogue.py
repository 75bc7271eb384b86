import subprocess
import sys

import pytest

from models.catalogue import load, recommender
from models.ease import Ease
from models.params import Candidates, EaseParams
from tests.models.histories import training


def test_a_recommender_comes_by_its_name_and_loads_by_it(tmp_path):
    model = recommender("ease", EaseParams())
    assert type(model) is Ease
    model.fit(training([0, 1]))
    model.save(tmp_path)
    assert type(load("ease", tmp_path)) is Ease


def test_an_unknown_name_is_refused():
    classical = "userknn, hybridcf, ials, easemarkov"
    names = f"popularity, itemknn, ease, sasrec, content, twotower, {classical}, gru4rec, bert4rec, multitask"
    with pytest.raises(ValueError, match=rf"one of {names}\. Received: 'als'"):
        recommender("als", None)


def test_every_candidate_of_the_parameters_is_in_the_catalogue():
    from models.catalogue import CLASSES

    assert list(CLASSES) == list(Candidates.model_fields)


def test_neither_the_catalogue_nor_a_model_without_keras_imports_keras():
    program = (
        "import sys; from models.catalogue import recommender; from models.params import EaseParams; "
        "recommender('ease', EaseParams()); print('keras' in sys.modules or 'tensorflow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
