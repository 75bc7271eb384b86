"""A catalogue's media as modalities, texts and notes, and what is absent for which reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from models.encoders.protocol import Encoder
from tasks.media.notes import NoteTaker, on_screen, spoken
from tasks.media.senses import Sense, senses
from tasks.media.sources import MediaSource
from tasks.media.understand import Perceived, Understanding
from tasks.modality import Modality, left
from tasks.params import Media
from tasks.schema import Videos
from tasks.shelves import Shelves
from tasks.texts import normalised
from tasks.vector_store import content_keys

SPEECH, RECOGNISED = "speech", "recognised"


@dataclass(frozen=True)
class Watched:
    """What a catalogue's media gave.

    Attributes:
        catalogue: with `media_digest`, the SHA-256 of each video's file, and `notes`, under which key of the store
            the notes on it are.
        modalities: by name, in the rows of `catalogue`.
        texts: by field `[videos]`, `""` where there is none.
        absent: `video_id`, `modality`, `reason` of what a file was meant to give and did not.
    """

    catalogue: pl.DataFrame
    modalities: Mapping[str, Modality]
    texts: Mapping[str, Sequence[str]]
    absent: pl.DataFrame

    def reasons(self) -> Iterator[tuple[str, str, int]]:
        """Modality, reason, and how many videos."""
        counted = self.absent.group_by("modality", "reason").len().sort("modality", "reason")
        yield from counted.iter_rows()


def watch(
    catalogue: pl.DataFrame,
    params: Media,
    shelves: Shelves,
    source: MediaSource | None,
    sentences: Encoder[str] | None,
    *,
    out: Path,
) -> Watched:
    """Everything that `params` asks of the files in the column `media`, vectors in `out`; nothing where there are none.

    Raises:
        BadInput: a network cannot be opened.
    """
    told = catalogue[Videos.MEDIA].to_list() if source and Videos.MEDIA in catalogue.columns else []
    wanted = sorted({media for media in told if media})
    if source is None or not wanted:
        return Watched(catalogue, {}, {}, _absent(catalogue, []))
    digests, faults = source.digests(wanted)
    notes = NoteTaker(params, sentences)
    understanding = Understanding(senses(params), notes, shelves.vectors, shelves.store, params.limits)
    seen = understanding.of({content: media for media, content in digests.items()}, source)
    contents = [digests.get(media or "") for media in told]
    whole = catalogue.with_columns(
        pl.Series(Videos.MEDIA_DIGEST, contents, pl.String),
        pl.Series(Videos.NOTES, [of and notes.key(of) if of in seen.notes else None for of in contents], pl.String),
    )
    return Watched(
        whole,
        {sense.name: _modality(sense, seen, contents, out) for sense in understanding.senses},
        _texts(seen, contents),
        _absent(catalogue, list(_missing(catalogue, told, faults, contents, seen))),
    )


def _modality(sense: Sense, seen: Perceived, contents: Sequence[str | None], out: Path) -> Modality:
    known = seen.vectors[sense.name]
    rows = np.full(len(contents), -1, np.int64)
    has = [at for at, content in enumerate(contents) if content]
    rows[has] = known.rows(content_keys([content for content in contents if content]))
    table = left(out / f"{sense.name}.npy", len(contents), sense.dim, lambda videos: known.take(rows[videos]))
    return Modality(table, sense.encoder, sense.licence, seen.made)


def _texts(seen: Perceived, contents: Sequence[str | None]) -> dict[str, list[str]]:
    notes = [seen.notes.get(content or "") for content in contents]
    return {
        SPEECH: [normalised(spoken(told)) if told else "" for told in notes],
        RECOGNISED: [normalised(on_screen(told)) if told else "" for told in notes],
    }


def _missing(
    catalogue: pl.DataFrame,
    told: Sequence[str | None],
    faults: Mapping[str, str],
    contents: Sequence[str | None],
    seen: Perceived,
) -> Iterator[tuple[object, str, str]]:
    for video, media, content in zip(catalogue[Videos.ID].to_list(), told, contents, strict=True):
        if media and media in faults:
            yield from ((video, name, faults[media]) for name in seen.vectors)
        elif content:
            yield from ((video, name, reason) for name, reason in seen.faults(content).items())


def _absent(catalogue: pl.DataFrame, rows: list[tuple[object, str, str]]) -> pl.DataFrame:
    schema = {Videos.ID: catalogue.schema[Videos.ID], "modality": pl.String(), "reason": pl.String()}
    return pl.DataFrame(rows, schema=schema, orient="row")
