"""The index of a snapshot: which viewers and which videos it holds rows of, as sorted ids that are found by bisection.

`snapshots/NAME/SNAPSHOT/users.parquet` and `videos.parquet`, one column `id` each. Row groups are small and carry their
least and greatest id, so that a question about one id decodes one row group of each snapshot.
"""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.disk import disk_errors, make_folder
from infra.errors import Refused

if TYPE_CHECKING:
    from infra.stores import ObjectStore  # not for `tasks.prepare`, which only writes: it brings boto3 with it

SNAPSHOTS = "snapshots/"
USERS_FILE, VIDEOS_FILE = "users.parquet", "videos.parquet"
ID = "id"
GROUP_ROWS = 1 << 14
PARALLEL = 8
INTEGER = re.compile("-?[0-9]{1,19}")


def write_index(users: pl.Series, videos: pl.Series, folder: Path) -> None:
    """Write `users.parquet` and `videos.parquet` into `folder`.

    Args:
        users: ids of viewers, Int64 or String; in any order, repeated and missing ones allowed.
        videos: ids of videos, likewise.
        folder: made where it is not there. Equal ids give equal bytes.
    """
    with disk_errors(folder):
        make_folder(folder)
        _write(users, folder / USERS_FILE)
        _write(videos, folder / VIDEOS_FILE)


def put_index(store: "ObjectStore", name: str, snapshot: str, folder: Path) -> None:
    """Store the index in `folder` as that of `snapshot`, the SHA-256 of `record/snapshot.json`. Twice is as good."""
    for file in (USERS_FILE, VIDEOS_FILE):
        store.upload_if_absent(f"{SNAPSHOTS}{name}/{snapshot}/{file}", folder / file)


def indexed(store: "ObjectStore", name: str) -> set[str]:
    """The snapshots of the recommender `name` that have an index."""
    files: dict[str, set[str]] = {}
    for key in store.keys(f"{SNAPSHOTS}{name}/"):
        snapshot, _, file = key.removeprefix(f"{SNAPSHOTS}{name}/").partition("/")
        files.setdefault(snapshot, set()).add(file)
    return {snapshot for snapshot, held in files.items() if held >= {USERS_FILE, VIDEOS_FILE}}


def holding(
    store: "ObjectStore", name: str, snapshots: Iterable[str], *, user: str | None = None, video: str | None = None
) -> set[str]:
    """Which of `snapshots` hold rows of one viewer or one video.

    Args:
        store: where the indexes are.
        name: the recommender.
        snapshots: SHA-256 of each; those without an index (see `indexed`) are left out of the answer.
        user: the viewer's id as text; where ids are integers, only an integer's text names one.
        video: the video's id, likewise. Exactly one of the two is given.

    Raises:
        ValueError: both or none are given.
        Refused: an index is damaged.
    """
    if (user is None) == (video is None):
        raise ValueError(f"Either a user or a video is looked for. Received: user={user!r}, video={video!r}")
    wanted, file = (user, USERS_FILE) if user is not None else (video, VIDEOS_FILE)
    asked = sorted(set(snapshots) & indexed(store, name))
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = pool.map(lambda one: _holds(store, f"{SNAPSHOTS}{name}/{one}/{file}", str(wanted)), asked)
        return {snapshot for snapshot, holds in zip(asked, found, strict=True) if holds}


def _write(ids: pl.Series, path: Path) -> None:
    distinct = ids.drop_nulls().unique().sort()
    table = pa.table({ID: distinct.to_arrow()})
    delta = "DELTA_BINARY_PACKED" if distinct.dtype.is_integer() else "DELTA_BYTE_ARRAY"
    pq.write_table(
        table,
        path,
        row_group_size=GROUP_ROWS,
        compression="zstd",
        use_dictionary=False,
        column_encoding={ID: delta},
        write_page_index=True,
        store_schema=False,
    )


def _holds(store: "ObjectStore", key: str, wanted: str) -> bool:
    data = store.get(key)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        target = _typed(wanted, file.schema_arrow.field(ID).type)
        if target is None:
            return False
        groups = [at for at in range(file.num_row_groups) if _may_hold(file.metadata.row_group(at), target)]
        ids = file.read_row_groups(groups, columns=[ID], use_threads=False)[ID]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise Refused(f"The index {key} is damaged: {str(error).splitlines()[0]}") from None
    return bool(pc.index(ids, target).as_py() >= 0)


def _typed(wanted: str, kind: pa.DataType) -> int | str | None:
    """`wanted` as ids of this type are written; None when none can be written so."""
    if not pa.types.is_integer(kind):
        return wanted
    return int(wanted) if INTEGER.fullmatch(wanted) and -(2**63) <= int(wanted) < 2**63 else None


def _may_hold(group: pq.RowGroupMetaData, target: int | str) -> bool:
    bounds = group.column(0).statistics
    if bounds is None or not bounds.has_min_max:  # ids of more than 4 KB have none
        return True
    return bool(bounds.min <= target <= bounds.max)
