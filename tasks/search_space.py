"""What a search over a candidate's parameters may try: the fields that decide quality, and their ranges.

What decides cost alone (how many weights are kept, precision, compilation), or how long a training may go on, is left
as it stands in `params.yaml`: judged by quality alone, more would always win.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from pydantic import ValidationError

from infra.errors import BadInput
from models.params import Section

Value = float | str | None
Values = dict[str, Value]


class Trial(Protocol):
    """What is asked of an `optuna.Trial`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number from `low` to `high`."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """A whole number from `low` to `high`."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of `choices`."""


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, drawn on a logarithmic scale where `log` says so; four digits are enough."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> float:
        """The value of `name` in `trial`."""
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.4g}")

    def reaching(self, value: Any) -> Self:
        """The same, made wide enough for `value`."""
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class Whole:
    """A whole number, as `Real`."""

    low: int
    high: int
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> int:
        """The value of `name` in `trial`."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)

    def reaching(self, value: Any) -> Self:
        """The same, made wide enough for `value`."""
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class OneOf:
    """One of `choices`."""

    choices: tuple[Value, ...]

    def suggest(self, trial: Trial, name: str) -> Any:
        """The value of `name` in `trial`."""
        return trial.suggest_categorical(name, self.choices)

    def reaching(self, value: Any) -> Self:
        """The same with `value` among the choices."""
        return self if value in self.choices else replace(self, choices=(*self.choices, value))


Space = dict[str, Real | Whole | OneOf]

HALF_LIFE = OneOf((None, 7.0, 30.0, 90.0, 365.0, 1460.0))
SIMILARITY = OneOf(("cosine", "pearson", "jaccard"))
SHRINK = Real(0.0, 200.0)
SHARE = Real(0.0, 1.0)
EASE: Space = {"l2": Real(1.0, 1e4, log=True), "half_life_days": HALF_LIFE}
NEIGHBOURS: Space = {
    "similarity": SIMILARITY,
    "neighbours": Whole(10, 1000, log=True),
    "shrink": SHRINK,
    "half_life_days": HALF_LIFE,
}
SEQUENCE: Space = {
    "dim": OneOf((32, 64, 128)),
    "dropout": Real(0.0, 0.6),
    "batch_size": OneOf((32, 64, 128, 256)),
    "learning_rate": Real(1e-4, 1e-2, log=True),
}
SPACES: dict[str, Space] = {
    "itemknn": NEIGHBOURS,
    "userknn": NEIGHBOURS,
    "hybridcf": {
        "weight": SHARE,
        "items.similarity": SIMILARITY,
        "items.neighbours": Whole(10, 1000, log=True),
        "users.similarity": SIMILARITY,
        "users.neighbours": Whole(10, 1000, log=True),
        "half_life_days": HALF_LIFE,
    },
    # alpha and l2 together, on logarithmic scales: Rendle et al., RecSys 2022
    "ials": {
        "factors": Whole(16, 256, log=True),
        "alpha": Real(0.1, 100.0, log=True),
        "l2": Real(0.01, 1000.0, log=True),
    },
    "ease": EASE,
    "easemarkov": {
        **EASE,
        "blend": SHARE,
        "newest": Whole(1, 20, log=True),
        "shrink": SHRINK,
        "gap_half_life_days": HALF_LIFE,
    },
    "gru4rec": {**SEQUENCE, "cell": OneOf(("gru", "lstm")), "layers": Whole(1, 2)},
    "sasrec": {**SEQUENCE, "blocks": Whole(1, 3)},
    "bert4rec": {**SEQUENCE, "blocks": Whole(1, 3), "mask_share": Real(0.1, 0.6), "last_share": Real(0.0, 0.5)},
    "content": {
        "similarity": OneOf(("cosine", "euclidean")),
        "centre": OneOf((True, False)),
        "half_life_days": HALF_LIFE,
    },
    "multitask": {
        "newest": Real(0.05, 0.5),
        "negatives": Whole(5, 100, log=True),
        "experts": OneOf((1, 2, 4, 8)),
        "expert_dim": OneOf((16, 32, 64)),
        "hidden": OneOf((8, 16, 32)),
        "dropout": Real(0.0, 0.6),
        "half_life_days": Real(0.5, 1000.0, log=True),
        "batch_size": OneOf((128, 512, 2048)),
        "learning_rate": Real(1e-4, 1e-2, log=True),
    },
    "twotower": {
        "dim": OneOf((32, 64, 128)),
        "hidden": OneOf((64, 128, 256)),
        "pooling": OneOf(("attention", "mean")),
        "half_life_days": HALF_LIFE,
        "id_dropout": SHARE,
        "dropout": Real(0.0, 0.7),
        "temperature": Real(0.02, 0.5, log=True),
        "popularity_correction": SHARE,
        "learning_rate": Real(1e-4, 1e-2, log=True),
    },
}


def require_searchable(candidate: str, known: Mapping[str, object]) -> None:
    """Raise `BadInput` when `candidate` is not among those `known`, or has no parameters worth a search."""
    if candidate not in known:
        raise BadInput(f"A candidate is one of {', '.join(known)}. Received: {candidate}")
    if candidate not in SPACES:
        raise BadInput(
            f"{candidate} has no parameters worth a search; those that have are {', '.join(SPACES)}. "
            f"Compare a few values of train.{candidate} with `nightreel leaderboard --set` instead."
        )


def space_of(candidate: str, present: Section) -> Space:
    """The space of `candidate`, made wide enough for its `present` parameters and free of what cannot go with them.

    For example, no `dim` that is not a multiple of the present `heads`.
    """
    wide = {field: kind.reaching(value_of(present, field)) for field, kind in SPACES[candidate].items()}
    return {field: _possible(kind, field, present) for field, kind in wide.items()}


def value_of(section: Section, field: str) -> Any:
    """The value of a dotted `field`, such as `items.neighbours`."""
    value: Any = section
    for name in field.split("."):
        value = getattr(value, name)
    return value


def with_values(section: Section, values: Mapping[str, Value]) -> Section:
    """`section` with each dotted field set. Raises `pydantic.ValidationError` where they do not go together."""
    tree = section.model_dump()
    for field, value in values.items():
        *above, name = field.split(".")
        below = tree
        for part in above:
            below = below[part]
        below[name] = value
    return type(section).model_validate(tree)


def _possible(kind: Real | Whole | OneOf, field: str, present: Section) -> Real | Whole | OneOf:
    if not isinstance(kind, OneOf):
        return kind
    return OneOf(tuple(choice for choice in kind.choices if _is_valid(present, {field: choice})))


def _is_valid(section: Section, values: Values) -> bool:
    try:
        with_values(section, values)
    except ValidationError:
        return False
    return True
