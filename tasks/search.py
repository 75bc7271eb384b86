"""A search over one candidate's parameters: what is tried, and what each try is judged by."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from infra.errors import BadInput
from models.catalogue import NEURAL, recommender
from models.early_stopping import METRIC, judged_viewers, validation_metric
from models.params import Section
from models.protocol import Training
from tasks import paths
from tasks.encoded import Encoded
from tasks.feedback import read_feedback, video_facts
from tasks.params import ContentCandidateName, Params, RankerName
from tasks.prepared import Prepared
from tasks.regions import read_places
from tasks.register import flat
from tasks.search_space import Space, Values, space_of, value_of, with_values

OnEpoch = Callable[[int, int, dict[str, float]], None]


def needs_content(candidate: str, params: Params) -> bool:
    """Whether `candidate` reads content vectors. Raises `BadInput` where it does and a night makes none for it."""
    if candidate not in (*get_args(ContentCandidateName), *get_args(RankerName)):
        return False
    if candidate not in params.after_encode:
        raise BadInput(
            f"{candidate} reads content vectors, which are made for what params.yaml lists in content_candidates and "
            f"rankers. Received: {params.after_encode}"
        )
    return True


@dataclass(frozen=True)
class Search:
    """All that decides what a set of parameters is worth. Two searches with one `key` are the same search.

    Attributes:
        candidate: whose parameters they are.
        present: those of `params.yaml`; what `space` does not name stays as it is there.
        space: what may be tried.
        data: the training part, and the validation part that judges.
        key: `RECOMMENDER-CANDIDATE-DATA-SPACE`, the last two the first 12 digits of SHA-256s.
    """

    candidate: str
    present: Section
    space: Space
    data: Training
    key: str

    @classmethod
    def over(cls, checkout: Path, candidate: str, params: Params) -> "Search":
        """The search over the data that a night prepared (and encoded, if `candidate` reads content) in `checkout`.

        Raises:
            BadInput: the split leaves nothing to validate by.
        """
        prepared, present = Prepared(checkout / paths.PREPARED), getattr(params.train, candidate)
        encoded = Encoded(checkout / paths.ENCODED) if needs_content(candidate, params) else None
        train, valid = prepared.train(), prepared.valid()
        if not len(valid.videos):
            raise BadInput(f"The split {params.prepare.split} leaves no validation events to judge {candidate} by.")
        data = Training(
            train=train,
            valid=valid,
            n_videos=prepared.videos.height,
            now=int(train.times.max()),
            seed=params.seed,
            content=encoded.content() if encoded else None,
        )
        if candidate in params.rankers:
            facts, feedback = video_facts(prepared.videos), read_feedback(prepared.folder)
            places = read_places(checkout / paths.REGIONS)
            data = replace(data, facts=facts, feedback=feedback.until_newest(train), places=places)
        space = space_of(candidate, present)
        fixed = {name: value for name, value in flat(present.model_dump(mode="json")) if name not in space}
        content = encoded.facts["modalities"] if encoded else {}
        told = (repr(sorted(space.items())), fixed, params.seed, params.prepare.model_dump(mode="json"), content)
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        key = f"{params.name}-{candidate}-{prepared.facts['split_digest'][:12]}-{digest[:12]}"
        return cls(candidate, present, space, data, key)

    @property
    def start(self) -> Values:
        """The present values of what is searched."""
        return {field: value_of(self.present, field) for field in self.space}

    def judge(self, values: Values, on_epoch: OnEpoch) -> float:
        """NDCG@10 on the validation part, learnt from the training part alone.

        Never on the holdout: whoever picks the best of many tries by it has learnt from it, and the gate, which judges
        by it, would believe a gain that is luck. A network is stopped by the validation part, as in a night, and is
        judged by its best epoch; any other candidate would learn from that part in a night, and here must not see it.

        Args:
            values: of the fields of `space`.
            on_epoch: as in `models.protocol.Training`; what it raises ends the training.

        Raises:
            Diverged: the training left the finite numbers, or ran out of memory.
            MemoryError: the same, said by NumPy.
        """
        model = recommender(self.candidate, with_values(self.present, values))
        nothing = self.data.valid.where(np.zeros(len(self.data.valid.videos), np.bool_))
        stopped_by_it = self.candidate in NEURAL and self.candidate not in get_args(RankerName)
        valid = self.data.valid if stopped_by_it else nothing
        model.fit(replace(self.data, valid=valid, on_epoch=on_epoch))
        return validation_metric(model, self.data, judged_viewers(self.data))[METRIC]
