"""Refresh: the live model's towers embed what is new or changed in the catalogue. Same model, next generation."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
import yaml

from infra.errors import BadInput, Refused
from lineage.manifest import Facts, Manifest, build
from lineage.recorded import REFRESH
from models.catalogue import load
from models.embedded import VIDEOS, Embedded
from models.search import Index
from models.sequences import Sequences
from models.tags import FineTuned
from tasks import paths
from tasks.encode import encode, text_encoder, whole_catalogue
from tasks.encoded import Encoded
from tasks.index import dense_settings
from tasks.media.sources import MediaSource
from tasks.params import Params, Refresh, parse_params
from tasks.prepare import FIRST_SEEN, TRAIN_EVENTS
from tasks.refresh_checks import Generation, refresh_checks
from tasks.schema import Videos
from tasks.shelves import Shelves
from tasks.stage import read_json, write_json
from tasks.tag import tags_of

MADE = (Videos.MEDIA_DIGEST, Videos.NOTES)  # columns that encoding adds to a catalogue

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What refreshing needs beside the release: what has been encoded, a folder to work in, the source's files."""

    shelves: Shelves
    work: Path
    media: MediaSource | None = None


def is_refreshable(manifest: Manifest) -> bool:
    """Whether the release serves a model whose towers embed videos by their content."""
    return f"model/{VIDEOS}" in manifest.parts


def refresh(
    live: Path, manifest: Manifest, accepted: pl.DataFrame, kept: Kept, *, params: Refresh, source: Mapping[str, Any]
) -> tuple[Path, Manifest] | None:
    """Make the live release's next generation: its model, all else as it was, and every video of the catalogue.

    Args:
        live: verified folder of the live release.
        manifest: of it.
        accepted: the validated catalogue of now.
        kept: folders and stores.
        params: what the new generation is held against.
        source: what goes on record about where the catalogue came from, JSON types.

    Returns:
        The new release's folder and manifest; None when the live one has every video as it is now.

    Raises:
        BadInput: the live model does not embed videos, the release records parameters that this code does not read,
            or an encoder cannot be opened.
        Refused: the encoders are not those that the towers were trained on, or a check failed.
    """
    if not is_refreshable(manifest):
        raise BadInput(
            f"Only a model that embeds videos by their content can be refreshed (content_candidates in params.yaml). "
            f"Received: release {manifest.release[:12]}, {manifest.candidate}"
        )
    catalogue = _changed(live, accepted)
    if catalogue is None:
        return None
    recorded, model = recorded_params(live), _live_model(live, manifest)
    encoded = Encoded(kept.work / "encoded")
    figures = encode(catalogue, encoded.folder, params=recorded.encode, shelves=kept.shelves, media=kept.media)
    after = _embedded(model, encoded, manifest)
    out = _copied(live, kept.work / "release")
    _write_generation(out, after, encoded.catalogue, recorded, space=manifest.space)
    _tag(out, encoded, recorded, kept.shelves)
    generation = Generation(
        old=model.video_vectors(),
        new=after.video_vectors(),
        covered=1 - figures["without_content"] / figures["videos"],
        index=Index.load(out / "index", model=out / "model"),
        model=after,
        histories=Sequences.load(live / "sequences"),
    )
    checks = refresh_checks(generation, params=params, seed=recorded.seed)
    _record(out, manifest, checks, {**source, "videos": figures["videos"], "content": _having(figures)})
    _refuse_broken(checks, manifest)
    log.info("%d videos, %d of them new", catalogue.height, catalogue.height - len(generation.old))
    return out, build(out, _facts(manifest, source))


def _changed(live: Path, accepted: pl.DataFrame) -> pl.DataFrame | None:
    """The release's catalogue as it is now; None where that is what the release has."""
    before = pl.read_parquet(live / "vocabulary.parquet")
    catalogue = grown(before.drop(column for column in MADE if column in before.columns), accepted)
    same = set(catalogue.columns) <= set(before.columns) and catalogue.equals(before.select(catalogue.columns))
    return None if same else catalogue


def grown(before: pl.DataFrame, accepted: pl.DataFrame) -> pl.DataFrame:
    """The vocabulary `before` in its order, each video as `accepted` has it now, then the new ones by id.

    A video that is gone from the catalogue stays as it was: viewers' histories hold it.
    """
    own = [FIRST_SEEN, TRAIN_EVENTS]
    now = accepted.drop(name for name in own if name in accepted.columns)
    there = before.join(now, on=Videos.ID, how="semi", maintain_order="left").select(Videos.ID, *own)
    current = there.join(now, on=Videos.ID, maintain_order="left")
    place = before.select(Videos.ID).with_row_index("place")
    gone = before.join(now, on=Videos.ID, how="anti")
    rows = pl.concat([current, gone], how="diagonal_relaxed").join(place, on=Videos.ID).sort("place").drop("place")
    whole = whole_catalogue(rows, now)
    missing = [pl.lit(None, kind).alias(name) for name, kind in before.schema.items() if name not in whole.columns]
    first = [*before.columns, *(name for name in whole.columns if name not in before.columns)]
    return whole.with_columns(missing).select(first)


def recorded_params(folder: Path) -> Params:
    """The parameters that a release's model was trained with. Raises `BadInput` when this code does not know one."""
    text = (folder / "record/params.yaml").read_text(encoding="utf-8")
    return parse_params(yaml.safe_load(text), where="record/params.yaml of the live release")


def _live_model(live: Path, manifest: Manifest) -> Embedded:
    try:
        model = load(manifest.candidate, live / "model")
    except ValueError as error:
        raise Refused(f"Release {manifest.release[:12]} cannot be loaded: {error}") from error
    return cast("Embedded", model)  # it has a table


def _embedded(model: Embedded, encoded: Encoded, manifest: Manifest) -> Embedded:
    """The same model with a table of all videos. Raises `Refused` when other encoders made their vectors."""
    try:
        return model.extended(model.embed(encoded.content()))
    except ValueError as error:
        raise Refused(f"Release {manifest.release[:12]} cannot be refreshed: {error}") from error


def _copied(live: Path, out: Path) -> Path:
    """The live release without what each generation has of its own."""
    shutil.rmtree(out, ignore_errors=True)
    return shutil.copytree(live, out, ignore=shutil.ignore_patterns(VIDEOS, "index", "vocabulary.parquet"))


def _tag(out: Path, encoded: Encoded, params: Params, shelves: Shelves) -> None:
    """Tags of all videos by the live release's tagger, where it has tags."""
    table, learnt = out / paths.TAGS.name, out / paths.TAGGER.name
    if params.tags is None or not table.exists():
        return
    tagger = FineTuned.load(learnt) if learnt.exists() else None
    encoder = text_encoder(params.encode.text, shelves.encoders)
    tags_of(encoded, tagger, params=params.tags, encoder=encoder).write_parquet(table)


def _write_generation(out: Path, model: Embedded, catalogue: pl.DataFrame, params: Params, *, space: str) -> None:
    model.save_videos(out / "model")
    Index.build(model.video_vectors(), dense_settings(params.index), space=space, seed=params.seed).save(out / "index")
    catalogue.write_parquet(out / "vocabulary.parquet")


def _record(out: Path, manifest: Manifest, checks: list[dict[str, Any]], facts: Mapping[str, Any]) -> None:
    before = read_json(out / REFRESH) if (out / REFRESH).exists() else {"generation": 1}
    content = {
        "generation": before["generation"] + 1,
        "refreshed_from": manifest.release,
        "model_release": before.get("model_release", manifest.release),
        "checks": checks,
    }
    write_json(out / REFRESH, content | dict(facts))


def _having(figures: Mapping[str, Any]) -> dict[str, int]:
    return {name: of["videos"] for name, of in figures["modalities"].items()}


def _refuse_broken(checks: list[dict[str, Any]], manifest: Manifest) -> None:
    broken = [check for check in checks if not check["passed"]]
    if broken:
        said = "; ".join(f"{check['name']} must be {check['bound']}, is {check['observed']}" for check in broken)
        raise Refused(f"Release {manifest.release[:12]} stays as it is, a refreshed one failed its checks: {said}.")


def _facts(manifest: Manifest, source: Mapping[str, Any]) -> Facts:
    facts = manifest.model_dump(exclude={"parts"})
    return Facts.model_validate(facts | {"data": facts["data"] | {"catalogue": source["sha256"]}})
