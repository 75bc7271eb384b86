"""What a ranker looks at: of a viewer, of a video, and of the two together. NumPy alone, and learnt from old events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.decay import DAY_MS
from models.feedback import VideoFacts
from models.modality import Modality, Table
from models.places import Places
from models.recent import Recent
from models.sequences import Sequences
from models.sparse import csr_arrays, csr_of
from models.two_stage import Pool
from models.video_content import VideoContent
from models.watched import watched_by
from models.weights import Arrays

Columns = dict[str, NDArray[np.float32]]

CONTENT = "content/"
REGION = "region"
BUCKETS = 16  # names are hashed into so many columns (Weinberger et al., Feature hashing, ICML 2009)
CIRCUMSTANCES = ("known", "events", "pause", "days", "hour_sin", "hour_cos", "week_sin", "week_cos")


@dataclass(frozen=True)
class RankingFeatures:
    """What is known of the vocabulary's videos, from which `of` makes the columns of viewers and videos.

    Attributes:
        watched: `[videos]` float32, log(1 + training events).
        born: `[videos]` int64 milliseconds: uploaded, or else first watched; -1 unknown.
        facts: what the catalogue says.
        content: by modality `[videos, dim]` float32 of unit length, zeros where it is absent.
        now: milliseconds at which ages are counted.
        half_life_days: an older event counts half in interests.
        contexts: names of the circumstances that histories tell.
        places: regions by hour.
    """

    watched: NDArray[np.float32]
    born: NDArray[np.int64]
    facts: VideoFacts
    content: Mapping[str, Table]
    now: int
    half_life_days: float
    contexts: tuple[str, ...]
    places: Places

    @classmethod
    def learnt(
        cls,
        history: Sequences,
        facts: VideoFacts,
        content: VideoContent | None,
        *,
        now: int,
        half_life_days: float,
        places: Places | None = None,
    ) -> "RankingFeatures":
        """From what was watched by `now`. When a video was first watched later is not known yet."""
        n_videos = len(facts.seconds)
        counts = np.bincount(history.videos, minlength=n_videos)
        first = np.full(n_videos, np.iinfo(np.int64).max)
        np.minimum.at(first, history.videos, history.times)
        born = np.where(facts.uploaded >= 0, facts.uploaded, np.where(counts > 0, first, -1))
        tables = _unit_tables(content, n_videos) if content else {}
        popularity = np.log1p(counts).astype(np.float32)
        contexts = tuple(sorted(history.contexts))
        return cls(popularity, born, facts, tables, now, half_life_days, contexts, places or Places.none())

    @cached_property
    def _seconds(self) -> NDArray[np.float32]:
        """`[videos]` float32, log(1 + length); 0 where it is not known."""
        return np.nan_to_num(np.log1p(self.facts.seconds), nan=0.0).astype(np.float32)

    def of(self, histories: Sequences, pool: Pool) -> Columns:
        """By name the columns `[pairs]` float32 of the pairs in `pool`, whose viewers are rows of `histories`."""
        return _retrieved(pool) | self._viewer(histories, pool) | self._video(pool) | self._both(histories, pool)

    def _circumstances(self, histories: Sequences) -> Columns:
        """Region and device of the newest event, hashed, and the vector of its region and hour; by viewer."""
        known = histories.lengths > 0
        newest = np.where(known, histories.offsets[1:] - 1, -1)
        told: Columns = {}
        for name in self.contexts:
            codes = _at(histories.contexts.get(name), newest)
            told |= {f"viewer_{name}_{b}": (codes >= 0) & (codes % BUCKETS == b) for b in range(BUCKETS)}
        regions, times = _at(histories.contexts.get(REGION), newest), _at(histories.times, newest)
        vectors = self.places.vectors_of(regions, times)
        return told | {f"viewer_place_{axis}": vectors[:, axis] for axis in range(vectors.shape[1])}

    def _viewer(self, histories: Sequences, pool: Pool) -> Columns:
        """Activity, habits, and the circumstances of the newest event."""
        circumstances = Recent.of_all(histories, length=2).context(histories.times)
        told = {f"viewer_{name}": circumstances[:, at] for at, name in enumerate(CIRCUMSTANCES)}
        habits = {"mainstream": self.watched[histories.videos], "seconds": self._seconds[histories.videos]}
        told |= {f"viewer_{name}": _mean(of_event, histories) for name, of_event in habits.items()}
        told["viewer_strength"] = _mean(histories.weights, histories)
        told |= self._circumstances(histories)
        return {name: values[pool.viewers].astype(np.float32) for name, values in told.items()}

    def _video(self, pool: Pool) -> Columns:
        """Popularity, freshness and length; 0 where age or length are not known."""
        known = self.born[pool.videos] >= 0
        days = np.where(known, np.maximum(self.now - self.born[pool.videos], 0) / DAY_MS, 0)
        return {
            "video_watched": self.watched[pool.videos],
            "video_age_known": known.astype(np.float32),
            "video_age": np.log1p(days).astype(np.float32),
            "video_seconds": self._seconds[pool.videos],
        }

    def _both(self, histories: Sequences, pool: Pool) -> Columns:
        """How much of what the viewer watched, of late above all, was of the video's topics and like it."""
        n_videos, half_life = len(self.watched), self.half_life_days
        watched = watched_by(histories, n_videos=n_videos, half_life_days=half_life)
        shares = _shares(watched)
        interests = sp.csr_array(shares @ self.facts.topics)
        told = {"both_topics": _dots(interests, self.facts.topics, pool)}
        for name, table in self.content.items():
            centre = shares @ table
            told[f"both_{name}"] = np.einsum("pd,pd->p", centre[pool.viewers], table[pool.videos])
        return {name: values.astype(np.float32) for name, values in told.items()}

    def arrays(self) -> Arrays:
        """Everything but `now` and `half_life_days`, to be saved."""
        topics: Arrays = {f"topics/{name}": array for name, array in csr_arrays(self.facts.topics).items()}
        content: Arrays = {CONTENT + name: table for name, table in self.content.items()}
        arrays: Arrays = {"watched": self.watched, "born": self.born}
        facts: Arrays = {"uploaded": self.facts.uploaded, "seconds": self.facts.seconds}
        places: Arrays = {"places/codes": self.places.codes, "places/vectors": self.places.vectors}
        return arrays | facts | topics | content | places

    @classmethod
    def of_arrays(
        cls, arrays: Arrays, *, now: int, half_life_days: float, contexts: Sequence[str]
    ) -> "RankingFeatures":
        """What `arrays` gave."""
        topics = csr_of({name.removeprefix("topics/"): a for name, a in arrays.items() if name.startswith("topics/")})
        content = {name.removeprefix(CONTENT): a for name, a in sorted(arrays.items()) if name.startswith(CONTENT)}
        facts = VideoFacts(arrays["uploaded"], arrays["seconds"], topics)
        places = Places(arrays["places/codes"], arrays["places/vectors"])
        watched, born = arrays["watched"], arrays["born"]
        return cls(watched, born, facts, content, now, half_life_days, tuple(contexts), places)


def _retrieved(pool: Pool) -> Columns:
    scores = {f"{name}_score": values for name, values in pool.scores.items()}
    places = {f"{name}_place": (1 / (1 + values)).astype(np.float32) for name, values in pool.places.items()}
    return scores | places


def _at(values: NDArray[Any] | None, events: NDArray[np.int64]) -> NDArray[Any]:
    """`values` of `events`, -1 where there is no event or no value."""
    if values is None or not len(values):
        return np.full(len(events), -1)
    return np.where(events < 0, -1, values[events])


def _unit_tables(content: VideoContent, n_videos: int) -> dict[str, Table]:
    rows = np.arange(n_videos)
    moved = {name: Modality.of(content, name, watched=rows) for name in sorted(content.vectors)}
    return {name: moved[name].read(content.vectors[name], rows, unit=True)[0] for name in moved}


def _mean(of_event: NDArray[np.float32], histories: Sequences) -> NDArray[np.float32]:
    totals = np.bincount(histories.viewer_of_event(), weights=of_event, minlength=histories.n_viewers)
    return (totals / np.maximum(histories.lengths, 1)).astype(np.float32)


def _shares(watched: sp.csr_array) -> sp.csr_array:
    """Rows that sum to 1; an empty one stays."""
    totals = watched.sum(axis=1)
    return sp.csr_array(sp.diags_array(1 / np.where(totals > 0, totals, 1)) @ watched)


def _dots(viewers: sp.csr_array, videos: sp.csr_array, pool: Pool) -> NDArray[np.float32]:
    product = viewers[pool.viewers].multiply(videos[pool.videos])
    dots: NDArray[np.float32] = np.asarray(product.sum(axis=1)).ravel()
    return dots
