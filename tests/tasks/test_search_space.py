import optuna
import pytest

from infra.errors import BadInput
from models.catalogue import CLASSES
from models.params import Candidates, EaseParams, ItemKnnParams, SasRecParams
from tasks.search_space import SPACES, OneOf, Real, require_searchable, space_of, value_of, with_values

DRAWS = 50


def drawn(space, seed=0):
    """Sets of values as a search draws them."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(DRAWS):
        trial = study.ask()
        yield {field: kind.suggest(trial, field) for field, kind in space.items()}


@pytest.mark.parametrize("candidate", [name for name in CLASSES if name != "popularity"])
def test_whatever_is_drawn_is_valid_and_is_what_the_model_gets(candidate):
    present = getattr(Candidates(), candidate)
    for values in drawn(space_of(candidate, present)):
        section = with_values(present, values)
        assert {field: value_of(section, field) for field in values} == values
        assert type(section) is type(present)


def test_what_is_not_searched_stays():
    present = SasRecParams(epochs=7, patience=2, max_length=30)
    for values in drawn(space_of("sasrec", present)):
        assert with_values(present, values).model_dump(exclude=set(values)) == present.model_dump(exclude=set(values))


def test_a_space_reaches_the_present_values():
    knn = space_of("itemknn", ItemKnnParams(neighbours=5000, shrink=900.0, half_life_days=45.0))
    assert (knn["neighbours"].low, knn["neighbours"].high) == (10, 5000)
    assert knn["shrink"] == Real(0.0, 900.0)
    assert knn["half_life_days"] == OneOf((None, 7.0, 30.0, 90.0, 365.0, 1460.0, 45.0))
    assert space_of("ease", EaseParams(l2=0.25))["l2"] == Real(0.25, 1e4, log=True)


def test_choices_that_cannot_go_with_the_present_values_are_left_out():
    assert space_of("sasrec", SasRecParams(dim=96, heads=3))["dim"] == OneOf((96,))
    assert space_of("sasrec", SasRecParams(dim=96, heads=16))["dim"] == OneOf((32, 64, 128, 96))


def test_numbers_are_drawn_with_four_digits():
    values = [each["l2"] for each in drawn(space_of("ease", EaseParams()))]
    assert len(set(values)) > DRAWS / 2
    assert all(value == float(f"{value:.3e}") for value in values)


def test_who_has_nothing_to_search_over_is_refused():
    with pytest.raises(BadInput, match=r"popularity has no parameters worth a search; those that have are itemknn, "):
        require_searchable("popularity", CLASSES)
    with pytest.raises(BadInput, match=r"A candidate is one of popularity, .*\. Received: als"):
        require_searchable("als", CLASSES)
    for candidate in SPACES:
        require_searchable(candidate, CLASSES)
