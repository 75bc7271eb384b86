"""Encode: content vectors of the whole catalogue, of which only what is new or changed is encoded."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.console import progress_bar
from infra.errors import BadInput
from infra.settings import Settings
from infra.stores import open_store
from models.encoders.protocol import Encoder
from tasks import paths
from tasks.encoded import ABSENT, CATALOGUE, FACTS
from tasks.params import Encode, Text, load_params
from tasks.prepare import FIRST_SEEN, TRAIN_EVENTS
from tasks.schema import Videos
from tasks.stage import stage, write_json
from tasks.texts import WRITTEN, fused, written
from tasks.vector_store import VectorStore, content_keys

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Modality:
    """One kind of content, encoded.

    Attributes:
        vectors: `[videos, dim]` float32, NaN rows where a video lacks it.
        encoder: SHA-256 of all that made it.
        licence: of its weights.
        made: how many contents were encoded now; the others were found.
    """

    vectors: NDArray[np.float32]
    encoder: str
    licence: str
    made: int

    def facts(self) -> dict[str, Any]:
        """What `encoded.json` says of it."""
        videos = int((~np.isnan(self.vectors[:, 0])).sum())
        return {"dim": self.vectors.shape[1], "encoder": self.encoder, "licence": self.licence, "videos": videos}


def whole_catalogue(vocabulary: pl.DataFrame, accepted: pl.DataFrame) -> pl.DataFrame:
    """The rows of `vocabulary` in their order, then the videos of `accepted` that it lacks, by id.

    Those have no `first_seen` and no `train_events`: nobody has watched them yet.
    """
    others = accepted.join(vocabulary.select(Videos.ID), on=Videos.ID, how="anti").sort(Videos.ID)
    return pl.concat([vocabulary, others], how="diagonal_relaxed").with_columns(
        pl.col(FIRST_SEEN).cast(pl.Int64), pl.col(TRAIN_EVENTS).fill_null(0)
    )


def encode(catalogue: pl.DataFrame, out: Path, *, params: Encode, vectors: VectorStore, cache: Path) -> dict[str, Any]:
    """Leave the content vectors of `catalogue` in the folder `out`, which `tasks.encoded.Encoded` reads.

    Args:
        catalogue: one row a video.
        out: made anew.
        params: what is encoded by what.
        vectors: where vectors are found and kept.
        cache: folder for weights that are unpacked once.

    Returns:
        Figures: by modality its facts and how many contents were `made` now; videos without any modality.

    Raises:
        BadInput: an encoder cannot be opened.
    """
    found: dict[str, Modality] = {}
    if params.text:
        found |= {"text": encode_text(catalogue, params.text, vectors=vectors, cache=cache)}
    absent = pl.DataFrame(schema={Videos.ID: catalogue.schema[Videos.ID], "modality": pl.String, "reason": pl.String})
    _write(out, catalogue, found, absent)
    bare = np.all([np.isnan(one.vectors[:, 0]) for one in found.values()], axis=0) if found else np.ones(1)
    figures = {name: one.facts() | {"made": one.made} for name, one in found.items()}
    log.info("; ".join(f"{name}: {of['made']} encoded, {of['videos']} videos" for name, of in figures.items()))
    return {"modalities": figures, "videos": catalogue.height, "without_content": int(np.sum(bare))}


def encode_text(catalogue: pl.DataFrame, params: Text, *, vectors: VectorStore, cache: Path) -> Modality:
    """All text fields as one modality; each field's text is kept by its own digest.

    Raises:
        BadInput: the encoder's folder is missing, incomplete, or holds a pickle.
    """
    encoder = text_encoder(params, cache)
    weights = {name: weight for name, weight in params.fields if weight and name in WRITTEN}
    texts = {name: written(catalogue, name) for name in weights}
    made, tables = _field_vectors(texts, encoder, vectors)
    spelled = json.dumps([encoder.digest, weights], sort_keys=True)
    return Modality(fused(tables, weights), hashlib.sha256(spelled.encode()).hexdigest(), encoder.licence, made)


def text_encoder(params: Text, cache: Path) -> Encoder[str]:
    """The text encoder of `params`. Raises `BadInput` when its folder cannot be used."""
    from models.encoders.text import open_text_encoder

    try:
        return open_text_encoder(params.model, prefix=params.prefix, max_tokens=params.max_tokens, cache=cache)
    except ValueError as error:
        raise BadInput(f"encode.text.model: {error}") from error


def _field_vectors(
    texts: Mapping[str, Sequence[str]], encoder: Encoder[str], vectors: VectorStore
) -> tuple[int, dict[str, NDArray[np.float32]]]:
    """How many texts were encoded now, and by field `[videos, dim]`, NaN where there is no text."""
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
    table = np.concatenate([known.vectors, np.full((1, encoder.dim), np.nan, np.float32)])
    return made, {name: table[[rows[text] for text in field]] for name, field in texts.items()}


def _write(out: Path, catalogue: pl.DataFrame, found: Mapping[str, Modality], absent: pl.DataFrame) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name, modality in found.items():
        np.save(out / f"{name}.npy", modality.vectors, allow_pickle=False)
    catalogue.write_parquet(out / CATALOGUE)
    absent.write_parquet(out / ABSENT)
    write_json(out / FACTS, {"modalities": {name: modality.facts() for name, modality in found.items()}})


def main() -> None:
    """The DVC stage."""
    params, settings = load_params(Path("params.yaml")), Settings()
    catalogue = whole_catalogue(
        pl.read_parquet(paths.PREPARED / "videos.parquet"), pl.read_parquet(paths.ACCEPTED / "videos.parquet")
    )
    figures = encode(
        catalogue,
        paths.ENCODED,
        params=params.encode,
        vectors=open_vectors(settings),
        cache=settings.home_dir / "encoders",
    )
    write_json(paths.ENCODE_METRICS, figures)


def open_vectors(settings: Settings) -> VectorStore:
    """The vectors in the release store, with local copies under `home`."""
    return VectorStore(open_store(settings.store_url, settings), settings.home_dir / "vectors")


if __name__ == "__main__":
    stage(main)
