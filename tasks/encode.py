"""Encode: content vectors of the whole catalogue, of which only what is new or changed is encoded."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.console import progress_bar
from infra.errors import BadInput
from infra.settings import Settings
from models.encoders.protocol import Encoder
from tasks import paths
from tasks.cut_clips import FROM_CLIPS, cut_clips
from tasks.encoded import ABSENT, CATALOGUE, FACTS, Encoded
from tasks.media.sources import MediaSource, media_source
from tasks.media.watch import watch
from tasks.modality import Modality, left
from tasks.params import Encode, Text, load_params
from tasks.prepare import FIRST_SEEN, TRAIN_EVENTS
from tasks.schema import Videos
from tasks.shelves import Shelves, open_shelves
from tasks.stage import new_folder, read_json, stage, write_json
from tasks.tag import tag
from tasks.texts import WRITTEN, fused, written
from tasks.vector_store import Known, VectorStore, content_keys

log = logging.getLogger(__name__)


def whole_catalogue(vocabulary: pl.DataFrame, accepted: pl.DataFrame) -> pl.DataFrame:
    """The rows of `vocabulary` in their order, then the videos of `accepted` that it lacks, by id.

    Those have no `first_seen` and no `train_events`: nobody has watched them yet.
    """
    others = accepted.join(vocabulary.select(Videos.ID), on=Videos.ID, how="anti").sort(Videos.ID)
    return pl.concat([vocabulary, others], how="diagonal_relaxed").with_columns(
        pl.col(FIRST_SEEN).cast(pl.Int64), pl.col(TRAIN_EVENTS).fill_null(0)
    )


def encode(
    catalogue: pl.DataFrame, out: Path, *, params: Encode, shelves: Shelves, media: MediaSource | None = None
) -> dict[str, Any]:
    """Leave the content vectors of `catalogue` in the folder `out`, which `tasks.encoded.Encoded` reads.

    Args:
        catalogue: one row a video.
        out: made anew.
        params: what is encoded by what.
        shelves: where what has been made is found and kept.
        media: the catalogue's video files, where there are any.

    Returns:
        Figures: by modality its facts and how many contents were `made` now; videos without any modality, and how
        many videos lack one for which reason.

    Raises:
        BadInput: an encoder cannot be opened.
    """
    new_folder(out)
    encoder = text_encoder(params.text, shelves.encoders)
    watched = watch(catalogue, params.media, shelves, media, encoder, out=out)
    found = dict(watched.modalities)
    if params.text and encoder:
        found["text"] = encode_text(watched.catalogue, watched.texts, params.text, encoder, shelves.vectors, out=out)
    _write(out, watched.catalogue, found, watched.absent)
    bare = np.all([np.isnan(one.vectors[:, 0]) for one in found.values()], axis=0) if found else np.ones(1)
    figures = {name: one.facts() | {"made": one.made} for name, one in found.items()}
    log.info("; ".join(f"{name}: {of['made']} encoded, {of['videos']} videos" for name, of in figures.items()))
    reasons = {f"{modality}: {reason}": n for modality, reason, n in watched.reasons()}
    whole = {"modalities": figures, "videos": catalogue.height, "without_content": int(np.sum(bare))}
    return whole | {"absent": watched.absent[Videos.ID].n_unique(), "reasons": reasons}


def encode_text(
    catalogue: pl.DataFrame,
    heard: Mapping[str, Sequence[str]],
    params: Text,
    encoder: Encoder[str],
    vectors: VectorStore,
    *,
    out: Path,
) -> Modality:
    """All text fields as one modality, left as `out/text.npy`; each field's text is kept by its own digest.

    Args:
        catalogue: one row a video.
        heard: the fields that are no columns, by name `[videos]`, `""` where there is none.
        params: the fields' weights.
        encoder: of the texts.
        vectors: where what has been encoded is found and kept.
        out: folder.
    """
    weights = {name: weight for name, weight in params.fields if weight and name in (*WRITTEN, *heard)}
    texts = {name: heard[name] if name in heard else written(catalogue, name) for name in weights}
    made, known, rows = _known_texts(texts, encoder, vectors)

    def block(videos: NDArray[np.int64]) -> NDArray[np.float32]:
        return fused({name: known.take(of[videos]) for name, of in rows.items()}, weights)

    spelled = json.dumps([encoder.digest, weights], sort_keys=True)
    table = left(out / "text.npy", catalogue.height, encoder.dim, block)
    return Modality(table, hashlib.sha256(spelled.encode()).hexdigest(), encoder.licence, made)


def text_encoder(params: Text | None, cache: Path) -> Encoder[str] | None:
    """The text encoder of `params`; None where no text is encoded. Raises `BadInput` when its folder cannot be used."""
    if params is None:
        return None
    try:
        return _opened(params.model, params.prefix, params.max_tokens, cache)
    except ValueError as error:
        raise BadInput(f"encode.text.model: {error}") from error


@lru_cache(maxsize=1)
def _opened(model: str, prefix: str, max_tokens: int, cache: Path) -> Encoder[str]:
    """Kept for the process, which compiles each shape of batch once."""
    from models.encoders.text import open_text_encoder

    return open_text_encoder(model, prefix=prefix, max_tokens=max_tokens, cache=cache)


def _known_texts(
    texts: Mapping[str, Sequence[str]], encoder: Encoder[str], vectors: VectorStore
) -> tuple[int, Known, dict[str, NDArray[np.int64]]]:
    """How many texts were encoded now, all of them, and by field the row of each video's, -1 where there is no text."""
    distinct = sorted({text for field in texts.values() for text in field} - {""})
    keys = content_keys([hashlib.sha256(text.encode()).hexdigest() for text in distinct])
    made = 0
    with progress_bar() as bar:
        shown = bar.add_task("encode texts", total=None)

        def encode_some(places: NDArray[np.int64]) -> tuple[NDArray[np.float32], Mapping[int, str]]:
            nonlocal made
            made += len(places)
            bar.update(shown, completed=made)
            return encoder.encode([distinct[at] for at in places]), {}

        known = vectors.fill(encoder.digest, encoder.dim, keys, encode_some)
    rows = dict(zip(distinct, known.rows(keys).tolist(), strict=True)) | {"": -1}
    return made, known, {name: np.array([rows[text] for text in field], np.int64) for name, field in texts.items()}


def _write(out: Path, catalogue: pl.DataFrame, found: Mapping[str, Modality], absent: pl.DataFrame) -> None:
    catalogue.write_parquet(out / CATALOGUE)
    absent.write_parquet(out / ABSENT)
    write_json(out / FACTS, {"modalities": {name: modality.facts() for name, modality in found.items()}})


def main() -> None:
    """The DVC stage. Where nothing reads content it leaves an empty catalogue."""
    params, settings = load_params(Path("params.yaml")), Settings()
    if not params.reads_content:
        nothing = pl.DataFrame(schema={Videos.ID: pl.Int64})
        new_folder(paths.ENCODED)
        _write(paths.ENCODED, nothing, {}, nothing)
        write_json(paths.ENCODE_METRICS, {"videos": 0})
        return
    catalogue = whole_catalogue(
        pl.read_parquet(paths.PREPARED / "videos.parquet"), pl.read_parquet(paths.ACCEPTED / "videos.parquet")
    )
    shelves = open_shelves(settings)
    media = media_source(read_json(paths.LANDED), settings)
    write_json(
        paths.ENCODE_METRICS, encode(catalogue, paths.ENCODED, params=params.encode, shelves=shelves, media=media)
    )
    if params.tags:
        encoder = text_encoder(params.encode.text, shelves.encoders)
        tag(paths.ENCODED, params=params.tags, encoder=encoder)
    if set(params.learners) & FROM_CLIPS:
        cut_clips(Encoded(paths.ENCODED), media, paths.CLIPS, params=params)


if __name__ == "__main__":
    stage(main)
