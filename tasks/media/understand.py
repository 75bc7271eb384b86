"""The media of a catalogue: each new file is decoded once, and everything that is asked of it is taken then."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.console import track
from infra.stores import ObjectStore
from tasks.media.decode import decode
from tasks.media.decoded import Decoded
from tasks.media.limits import Limits, OutOfTime, Undecodable
from tasks.media.notes import NoteTaker, read_notes
from tasks.media.senses import Sense
from tasks.media.sources import MediaSource
from tasks.vector_store import Known, VectorStore, content_keys, hex_of

# Files between two shards of vectors: what a killed run decodes again at most.
FILES_A_SHARD = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Perceived:
    """What is known of media files, by content digest.

    Attributes:
        vectors: by modality.
        notes: what is said and shown; without those that could not be decoded.
        made: how many files were tried now.
        unlucky: why some of these were left out that may do another time: they took too long, or could not be read.
    """

    vectors: Mapping[str, Known]
    notes: Mapping[str, dict[str, Any]]
    made: int
    unlucky: Mapping[str, str]

    def faults(self, content: str) -> dict[str, str]:
        """Why modalities are missing that the file was meant to have."""
        if content in self.unlucky:
            return dict.fromkeys(self.vectors, self.unlucky[content])
        told = {name: known.failures.get(content, "") for name, known in self.vectors.items()}
        return {name: reason for name, reason in told.items() if reason}


@dataclass(frozen=True)
class Understanding:
    """Who perceives, and where it is kept."""

    senses: Sequence[Sense]
    notes: NoteTaker
    vectors: VectorStore
    store: ObjectStore
    limits: Limits

    def of(self, contents: Mapping[str, str], source: MediaSource) -> Perceived:
        """Everything about the files `contents`, media by content digest; what is not known yet is decoded.

        A file that cannot be decoded has its reason in `Perceived.faults` and is not tried again, unless time ran out.
        """
        known = self._known()
        missing = self._missing(sorted(contents), known)
        shards = [missing[start : start + FILES_A_SHARD] for start in range(0, len(missing), FILES_A_SHARD)]
        unlucky: dict[str, str] = {}
        for some in track(shards, label="Decoding media", total=len(shards)):
            unlucky |= self._perceive({content: contents[content] for content in some}, source, known)
        notes = {content: told for content in contents if (told := read_notes(self.store, self.notes.key(content)))}
        return Perceived(self._known() if missing else known, notes, len(missing), unlucky)

    def _known(self) -> dict[str, Known]:
        return {sense.name: self.vectors.known(sense.encoder, sense.dim) for sense in self.senses}

    def _missing(self, contents: Sequence[str], known: Mapping[str, Known]) -> list[str]:
        keys = content_keys(contents)
        lacking = np.zeros(len(contents), np.bool_)
        failed: set[str] = set()
        for of in known.values():
            lacking |= of.rows(keys) < 0
            failed |= of.failures.keys()
        unread = [content not in failed and not self.store.exists(self.notes.key(content)) for content in contents]
        return [content for content, need in zip(contents, lacking | np.array(unread, np.bool_), strict=True) if need]

    def _perceive(self, some: Mapping[str, str], source: MediaSource, known: Mapping[str, Known]) -> dict[str, str]:
        """Take all that is asked from some files, and store it; why some were left out that may do another time."""
        unlucky: dict[str, str] = {}
        found: dict[str, dict[str, NDArray[np.float32] | str]] = {}
        for content, media in some.items():
            try:
                with source.opened(media) as path:
                    decoded = decode(path, limits=self.limits)
            except (ValueError, OSError) as error:
                log.warning("%s is left out: %s", media, error)
                if isinstance(error, Undecodable) and not isinstance(error, OutOfTime):
                    found[content] = {sense.name: str(error) for sense in self.senses}
                else:
                    unlucky[content] = str(error)
                continue
            found[content] = self._taken(content, decoded)
        for sense in self.senses:
            self._keep(sense, {content: told[sense.name] for content, told in found.items()}, known[sense.name])
        return unlucky

    def _taken(self, content: str, decoded: Decoded) -> dict[str, NDArray[np.float32] | str]:
        self.notes.take(content, decoded, self.store)
        return {sense.name: sense.perceive(decoded) for sense in self.senses}

    def _keep(self, sense: Sense, told: Mapping[str, NDArray[np.float32] | str], known: Known) -> None:
        keys = content_keys(sorted(told))
        new = keys[known.rows(keys) < 0]
        if not len(new):
            return
        absent = np.full(sense.dim, np.nan, np.float32)
        rows = [told[hex_of(key)] for key in new.tolist()]
        table = np.stack([absent if isinstance(row, str) else row for row in rows])
        failures = {hex_of(key): row for key, row in zip(new.tolist(), rows, strict=True) if isinstance(row, str)}
        self.vectors.add(sense.encoder, new, table, failures)
