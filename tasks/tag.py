"""Tags for the catalogue: what videos of a known category look and read like, said of those without one."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.classification import macro_f1
from models.encoders.protocol import Encoder
from models.params import TagsParams
from models.tags import FineTuned, described, zero_shot
from models.video_content import VideoContent
from tasks import paths
from tasks.encoded import Encoded
from tasks.schema import Videos
from tasks.split import stable_hash
from tasks.stage import write_json

FIGURES = "tags.json"
TEXT = "text"


class Tags:
    """Columns of `tags.parquet`: at most `most` rows a video, the surest first."""

    VIDEO = Videos.ID
    TAG = "tag"
    SCORE = "score"
    HOW = "how"


GIVEN, ZERO_SHOT, LEARNT = "given", "zero-shot", "learnt"

log = logging.getLogger(__name__)


def tag(encoded: Path, *, params: TagsParams, encoder: Encoder[str] | None) -> dict[str, Any]:
    """Tag every video of the catalogue and say how well that goes.

    A video keeps the category it has, or else its own tags. The others get categories, from a tagger that learnt them
    of the rest; where the catalogue has no two categories worth learning, its tags, by likeness to their names.

    Args:
        encoded: what `tasks.encode` left; gets `tags.parquet`, the figures as `tags.json`, and where one was learnt
            `tagger`.
        params: the tagger's.
        encoder: of the modality `text`, for the names of tags; None: there is no zero-shot.

    Returns:
        Videos by how they were tagged, and, where categories were learnt, `held_out` videos and `macro_f1` of the
        `learnt` tagger, of `majority`, and of `zero_shot`.
    """
    known = Encoded(encoded)
    videos, catalogue = known.content(), known.catalogue
    category = _column(catalogue, Videos.CATEGORY)
    labelled = learnable(videos, category, params.min_videos)
    figures: dict[str, Any] = {}
    tagger = None
    if len(set(category[labelled])) > 1:
        figures = measure(videos, catalogue[Videos.ID], category, labelled, params=params, encoder=encoder)
        tagger = FineTuned.fit(videos, labelled, category[labelled].tolist(), params=params)
        tagger.save(encoded / paths.TAGGER.name)
    table = tags_of(known, tagger, params=params, encoder=encoder)
    table.write_parquet(encoded / paths.TAGS.name)
    by_how = table.group_by(Tags.HOW).agg(pl.col(Tags.VIDEO).n_unique())
    figures |= {"videos": catalogue.height, "tagged": dict(sorted(by_how.iter_rows()))}
    write_json(encoded / FIGURES, figures)
    log.info("tags: %s of %d videos", figures["tagged"], catalogue.height)
    return figures


def tags_of(
    known: Encoded, tagger: FineTuned | None, *, params: TagsParams, encoder: Encoder[str] | None
) -> pl.DataFrame:
    """The table `tags.parquet` of all videos of `known`, by `tagger`; zero-shot where none was learnt.

    Raises:
        ValueError: the vectors are of other encoders than those that `tagger` learnt from.
    """
    videos, catalogue = known.content(), known.catalogue
    guessed: tuple[str, Sequence[str], NDArray[np.float32]]
    if tagger:
        guessed = (LEARNT, tagger.labels, tagger.scores(videos))
    else:
        guessed = (ZERO_SHOT, *_by_name(videos, _own_tags(catalogue), params, encoder))
    return tag_table(catalogue, *guessed, most=params.most, min_score=params.min_score)


def learnable(videos: VideoContent, category: NDArray[np.object_], min_videos: int) -> NDArray[np.int64]:
    """The videos that have content and a category that `min_videos` such videos share."""
    rows = described(videos) if videos.vectors else np.empty(0, np.int64)
    rows = rows[[bool(category[row]) for row in rows]] if len(rows) else rows
    names, of, counts = np.unique(category[rows], return_inverse=True, return_counts=True)
    return rows[counts[of] >= min_videos] if len(names) else rows


def held_out(ids: pl.Series, share: float) -> NDArray[np.bool_]:
    """`[videos]`: about a `share`, chosen by the hash of their id; the same ones whatever else is in the catalogue."""
    return (stable_hash(ids) % np.uint64(10_000)) < np.uint64(round(share * 10_000))


def measure(
    videos: VideoContent,
    ids: pl.Series,
    category: NDArray[np.object_],
    labelled: NDArray[np.int64],
    *,
    params: TagsParams,
    encoder: Encoder[str] | None,
) -> dict[str, Any]:
    """Macro-F1 on the held-out part of `labelled`, learnt from the others; empty when either part has too little."""
    judged = held_out(ids, params.held_out)[labelled]
    train, test = labelled[~judged], labelled[judged]
    if not len(test) or len(set(category[train])) < 2:
        return {}
    truth, learnt_of = category[test].tolist(), category[train].tolist()
    tagger = FineTuned.fit(videos, train, learnt_of, params=params)
    majority = max(sorted(set(learnt_of)), key=learnt_of.count)
    scores = {
        "learnt": macro_f1(truth, best(tagger.labels, tagger.scores(videos)[test])),
        "majority": macro_f1(truth, [majority] * len(truth)),
    }
    if encoder and TEXT in videos.vectors:
        labels, cosines = _by_name(videos, sorted(set(learnt_of)), params, encoder)
        scores["zero_shot"] = macro_f1(truth, best(labels, cosines[test]))
    return {"held_out": len(test), "learnt_from": len(train), "macro_f1": scores}


def best(labels: Sequence[str], scores: NDArray[np.float32]) -> list[str]:
    """The surest label of each row; `""` of a row that is NaN."""
    return [labels[row.argmax()] if not np.isnan(row[0]) else "" for row in scores]


def tag_table(
    catalogue: pl.DataFrame,
    how: str,
    labels: Sequence[str],
    scores: NDArray[np.float32],
    *,
    most: int,
    min_score: float,
) -> pl.DataFrame:
    """One row a tag of a video: what is given, else the labels that score `min_score` or more, surest first."""
    category, own = _column(catalogue, Videos.CATEGORY), _column(catalogue, Videos.TAGS)
    rows: list[tuple[Any, str, float, str]] = []
    for at, video in enumerate(catalogue[Videos.ID].to_list()):
        given = [category[at]] if category[at] else list(dict.fromkeys(own[at] or []))
        if given:
            rows += [(video, tag, 1.0, GIVEN) for tag in given[:most]]
        elif len(labels) and not np.isnan(scores[at, 0]):
            order = np.argsort(-scores[at], kind="stable")[:most]
            rows += [(video, labels[i], float(scores[at, i]), how) for i in order if scores[at, i] >= min_score]
    schema: dict[str, Any] = {
        Tags.VIDEO: catalogue[Videos.ID].dtype,
        Tags.TAG: pl.String,
        Tags.SCORE: pl.Float32,
        Tags.HOW: pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _by_name(
    videos: VideoContent, labels: Sequence[str], params: TagsParams, encoder: Encoder[str] | None
) -> tuple[Sequence[str], NDArray[np.float32]]:
    if encoder is None or TEXT not in videos.vectors or not labels:
        return [], np.empty((videos.n_videos, 0), np.float32)
    return labels, zero_shot(videos, encoder.encode(labels), modality=TEXT, temperature=params.temperature)


def _own_tags(catalogue: pl.DataFrame) -> list[str]:
    return sorted({tag for tags in _column(catalogue, Videos.TAGS) for tag in tags or [] if tag.strip()})


def _column(catalogue: pl.DataFrame, name: str) -> NDArray[np.object_]:
    """`[videos]` values, all None where the catalogue lacks the column."""
    values = np.full(catalogue.height, None, dtype=object)
    if name in catalogue.columns:
        values[:] = catalogue[name].to_list()
    return values
