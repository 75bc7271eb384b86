"""A multi-task ranker over the union of several retrievers' candidates: what will this viewer do with this video?

Each viewer's newest positives are what is learnt to be told: retrievers are first trained on what lies before them
alone, so that what they propose, and the scores which the ranker reads, are those of videos that they do not know the
viewer to watch. Then they are trained again on everything. Network: `models.multitask_network`; chances are calibrated
on viewers that it was not trained on (`models.calibration`), and combined by the weights that the parameters give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.backend import grow_memory, repeatable
from models.calibration import Line
from models.catalogue import recommender
from models.checkpoint import Checkpoint
from models.feature_columns import FeatureColumns
from models.feedback import VideoFacts
from models.learning import Progress, learning_key, shuffled, train, trained_on
from models.multitask_examples import Examples, Newest, examples_of
from models.multitask_judge import fit_lines, judged_lists, judged_tasks, units
from models.multitask_network import FEATURES, TOLD, MultiTaskNetwork, combined, mean_loss
from models.nested import folded, unfolded
from models.network_state import named_weights, set_named_weights
from models.params import MultiTaskParams
from models.protocol import Training
from models.ranking_features import Columns, RankingFeatures
from models.sequences import Sequences
from models.two_stage import Pool, Retrievers, TwoStage
from models.weights import WEIGHTS, Arrays, load_config, read_arrays, save_weights

NETWORK, KNOWN, SCALE = "network/", "features/", "scale/"

Values = NDArray[np.float32]


class MultiTask(TwoStage):
    """A `models.two_stage.TwoStage`. Its vectors are its first retriever's."""

    NAME = "multitask"

    _features: RankingFeatures
    _columns: FeatureColumns
    _network: MultiTaskNetwork
    _tasks: list[str]
    _lines: list[Line]

    def __init__(self, params: MultiTaskParams) -> None:
        self.params = params
        self.each = params.each

    def fit(self, data: Training) -> dict[str, Any]:
        """Learn to rank what retrievers propose, then train these on everything.

        Returns:
            What the training says of itself; `tasks`: by task how well it is told; `ranking`: NDCG@10 of the judging
            viewers' newest positives, of the ranker and of each retriever alone.

        Raises:
            Diverged: a retriever's table cannot be computed, or loss or weights left the finite numbers.
        """
        grow_memory()
        newest = Newest.of(data, share=self.params.newest)
        self._know(data, newest.older)
        learnt = examples_of(self._retrievers, newest, features=self._features, params=self.params, seed=data.seed)
        scale = units(learnt.learn.told, learnt.tasks)
        progress = self._fit_network(learnt, scale, data)
        told = self._network.tell(self._columns.rows(learnt.judge.features))
        self._lines = fit_lines(told, learnt.judge.told, self._tasks, scale)
        tasks = judged_tasks(told, learnt.judge, self._tasks, self._lines)
        lists = judged_lists(learnt.judge, self._combined(learnt.judge.features))
        self._know(data, data.history())
        return trained_on(progress) | {"tasks": tasks, "ranking": lists}

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`, which hold the retrievers as well."""
        arrays: Arrays = {NETWORK + name: array for name, array in named_weights(self._network).items()}
        arrays |= {KNOWN + name: array for name, array in self._features.arrays().items()}
        arrays |= {f"{SCALE}mean": self._columns.mean, f"{SCALE}deviation": self._columns.deviation}
        kept = {name: folded(name, model) for name, model in self._retrievers.by_name.items()}
        for of_one, _ in kept.values():
            arrays |= of_one
        config = {
            "params": self.params.model_dump(mode="json"),
            "retrievers": {name: of_one for name, (_, of_one) in kept.items()},
            "tasks": self._tasks,
            "columns": self._columns.names,
            "lines": [asdict(line) for line in self._lines],
            "now": self._features.now,
            "contexts": list(self._features.contexts),
        }
        save_weights(folder, recommender=self.NAME, arrays=arrays, config=config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        config, arrays = load_config(folder, recommender=cls.NAME), read_arrays(folder / WEIGHTS)
        loaded = cls(MultiTaskParams.model_validate(config["params"]))
        models = {name: unfolded(name, arrays, of_one) for name, of_one in config["retrievers"].items()}
        loaded._retrievers = Retrievers(models)
        loaded._tasks, loaded._lines = config["tasks"], [Line(**line) for line in config["lines"]]
        loaded._features = RankingFeatures.of_arrays(
            _under(KNOWN, arrays),
            now=config["now"],
            half_life_days=loaded.params.half_life_days,
            contexts=config["contexts"],
        )
        scale = _under(SCALE, arrays)
        loaded._columns = FeatureColumns(config["columns"], scale["mean"], scale["deviation"])
        loaded._network = loaded._new_network()
        set_named_weights(loaded._network, _under(NETWORK, arrays))
        return loaded

    def _know(self, data: Training, history: Sequences) -> None:
        """Train the retrievers on `history` alone, and learn from it what is known of videos."""
        nothing = history.where(np.zeros(len(history.videos), np.bool_))
        models = {name: recommender(name, params) for name, params in self.params.retrievers.chosen().items()}
        for model in models.values():
            model.fit(replace(data, train=history, valid=nothing))
        self._retrievers = Retrievers(models)
        self._features = RankingFeatures.learnt(
            history,
            data.facts or VideoFacts.unknown(data.n_videos),
            data.content,
            now=data.now,
            half_life_days=self.params.half_life_days,
            places=data.places,
        )

    def _fit_network(self, examples: Examples, scale: Sequence[Line], data: Training) -> Progress:
        self._tasks, self._columns = examples.tasks, FeatureColumns.of(examples.learn.features)
        truth, truth_of_judge = (_lined(scale, part.told) for part in (examples.learn, examples.judge))
        learn = {FEATURES: self._columns.rows(examples.learn.features), TOLD: truth}
        judge = self._columns.rows(examples.judge.features)
        repeatable(data.seed)
        self._network = self._new_network()
        decides = [*learn.values(), judge, truth_of_judge]
        key = learning_key(self.NAME, self.params.model_dump(mode="json"), decides)

        return train(
            self._network,
            lambda rng: shuffled(learn, rng),
            lambda: mean_loss(self._network.tell(judge), truth_of_judge, self._tasks),
            params=self.params,
            batch_size=self.params.batch_size,
            seed=data.seed,
            checkpoint=Checkpoint(data.checkpoints, key),
        )

    def _new_network(self) -> MultiTaskNetwork:
        return MultiTaskNetwork(self.params, columns=len(self._columns.names), tasks=self._tasks)

    def _scores(self, histories: Sequences, pool: Pool) -> Values:
        return self._combined(self._features.of(histories, pool))

    def _combined(self, features: Columns) -> Values:
        told = self._network.tell(self._columns.rows(features))
        return combined(_lined(self._lines, told), self._tasks, self.params.weights.model_dump())


def _lined(lines: Sequence[Line], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """`table` `[rows, tasks]`, each column by its line."""
    return np.stack([line(table[:, at]) for at, line in enumerate(lines)], axis=1)


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
