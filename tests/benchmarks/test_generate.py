"""The source that the benchmarks of scale read: the contract's, the same each time, as unequal as real logs."""

from datetime import UTC, datetime

import numpy as np
import polars as pl

from benchmarks.generate import Size, days, leave_source
from infra.settings import Settings
from tasks.readers.files import Files
from tests.tasks.sources import read_all

SIZE = Size(users=500, videos=2000, events=20_001, days=3, seed=7)


def test_the_reader_of_the_contract_takes_it(tmp_path):
    leave_source(tmp_path / "source", SIZE)
    tables = read_all(Files(str(tmp_path / "source"), Settings(home=tmp_path)), tmp_path / "in")
    assert tables.left_out == ()
    assert tables.events.frame.height == 20_001
    assert tables.videos.frame["video_id"].to_list() == list(range(2000))


def test_times_ascend_within_their_day():
    first, second, third = days(SIZE)
    assert [len(day.times) for day in (first, second, third)] == [6667, 6667, 6667]
    assert [first.date, second.date, third.date] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    begins = int(datetime(2026, 1, 2, tzinfo=UTC).timestamp() * 1000)
    assert begins <= second.times[0] <= second.times[-1] < begins + 86_400_000
    assert (np.diff(second.times) >= 0).all()


def test_the_same_size_and_seed_give_the_same_bytes(tmp_path):
    for folder in ("one", "other"):
        leave_source(tmp_path / folder, SIZE)
    names = [path.relative_to(tmp_path / "one") for path in sorted((tmp_path / "one").rglob("*.parquet"))]
    assert len(names) == 4
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in names)


def test_few_videos_have_most_events():
    videos = np.concatenate([day.videos for day in days(SIZE)])
    shares = np.sort(np.bincount(videos, minlength=2000))[::-1].cumsum() / len(videos)
    # of 1 / (rank + 20) ** 0.8 over 2,000 ranks a fifth has 0.554; sorting what was drawn adds a little
    assert 0.55 < shares[399] < 0.58
    assert pl.Series(videos).n_unique() > 1900
