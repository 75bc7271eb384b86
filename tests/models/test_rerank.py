"""Re-ranked lists: exact values, a plain reference, and what holds of any list."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from models.params import RerankParams
from models.ranking import top_k
from models.rerank import Reranker
from tests.tasks.prepared_folder import sequences

NOBODY = np.full(6, -1, np.int32)
NOTHING = np.zeros(0, np.int32)
# 0 and 1 are alike, so are 2 and 3; 4 is half like either pair; of 5 nothing is known
PAIRS = np.array([[1, 0], [2, 0], [0, 1], [0, 3], [1, 1], [0, 0]], np.float32)
POOL = np.array([[0, 1, 2, 3, 4]], np.int32)
SCORES = np.array([[1.0, 0.9, 0.5, 0.4, 0.0]], np.float32)


def reranker(*, vectors=PAIRS, authors=NOBODY, fresh=(), rare=(), seed=0, **params):
    videos = [np.array(each, np.int32) for each in (authors, fresh, rare)]
    return Reranker(RerankParams(**params), seed, vectors, *videos)


def lists(made, k, *, pool=POOL, scores=SCORES, seen=((),)):
    return made.lists(np.array(pool, np.int32), np.array(scores, np.float32), sequences(*seen), k).tolist()


@pytest.mark.parametrize("vectors", [PAIRS, sp.csr_array(PAIRS)], ids=["dense", "sparse"])
def test_diversity_trades_score_for_unlikeness_to_the_nearest_above(vectors):
    # At the second place: 1 is worth .45 - .5, 2 and 3 .25 and .2, 4 is worth -.5 * .707.
    assert lists(reranker(vectors=vectors, diversity=0.5), 3) == [[0, 2, 1]]
    assert lists(reranker(vectors=vectors, diversity=0.1), 3) == [[0, 1, 2]]
    assert lists(reranker(vectors=vectors, diversity=1.0), 5) == [[0, 2, 4, 1, 3]]


def test_the_strongest_entries_of_a_long_sparse_vector_decide_what_is_like_it():
    # 0 and 1 share 50 strong entries, 0 and 2 five hundred weak ones.
    strong, weak = np.full(50, 2.0, np.float32), np.full(500, -1.0, np.float32)
    rows = [[strong, weak], [strong, 0 * weak], [0 * strong, weak]]
    vectors = sp.csr_array(np.array([np.concatenate(row) for row in rows]))
    pool, scores = [[0, 1, 2]], [[1, 0.5, 0.5]]
    assert lists(reranker(vectors=vectors, diversity=0.5), 3, pool=pool, scores=scores) == [[0, 2, 1]]


def test_scores_count_as_their_share_of_the_range_of_the_pool():
    made = reranker(diversity=0.5)
    assert lists(made, 5, scores=SCORES * 1000 - 7) == lists(made, 5) == [[0, 2, 1, 3, 4]]
    assert lists(made, 3, scores=np.full((1, 5), 2.5)) == [[0, 2, 4]]  # all as good: unlikeness alone


def test_a_video_of_which_nothing_is_known_is_like_none():
    assert lists(reranker(diversity=0.5), 2, pool=[[0, 1, 5]], scores=[[1, 0.9, 0.1]]) == [[0, 5]]


def test_an_author_has_so_many_places_and_the_unknown_any_number():
    by = [7, 7, 7, -1, -1, -1]
    assert lists(reranker(authors=by, per_author=1), 3) == [[0, 3, 4]]
    assert lists(reranker(authors=by, per_author=2), 3) == [[0, 1, 3]]
    assert lists(reranker(authors=by, per_author=1), 5) == [[0, 3, 4, -1, -1]]
    assert lists(reranker(per_author=1), 5) == POOL.tolist()


def test_fresh_videos_come_in_no_earlier_than_they_must():
    assert lists(reranker(fresh=[4, 2], fresh_slots=1), 3) == [[0, 1, 2]]
    assert lists(reranker(fresh=[4], fresh_slots=1), 3) == [[0, 1, 4]]
    assert lists(reranker(fresh=[4, 3], fresh_slots=2), 3) == [[0, 3, 4]]
    assert lists(reranker(fresh=[0, 1], fresh_slots=2), 3) == [[0, 1, 2]]


def test_where_the_pool_has_too_few_fresh_videos_the_catalogue_gives_the_first_unseen():
    made = reranker(fresh=[5, 4, 3], fresh_slots=2)
    pool, scores = [[0, 1, 2]], [[3, 2, 1]]
    assert lists(made, 3, pool=pool, scores=scores) == [[0, 5, 4]]
    assert lists(made, 3, pool=pool, scores=scores, seen=[[5]]) == [[0, 4, 3]]
    assert lists(made, 3, pool=pool, scores=scores, seen=[[5, 4, 3]]) == [[0, 1, 2]]
    assert lists(made, 1, pool=pool, scores=scores) == [[5]]


def test_the_last_places_are_drawn_by_seed_and_history():
    pool, scores = [[0, 1]] * 200, [[2, 1]] * 200
    seen = [[3, 4, 5 + viewer] for viewer in range(200)]
    made = {seed: reranker(authors=[-1] * 300, rare=range(300), explore_slots=1, seed=seed) for seed in (0, 1)}
    one, other = (np.array(lists(made[seed], 2, pool=pool, scores=scores, seen=seen)) for seed in (0, 1))
    assert set(one[:, 0]) == {0}
    assert len(set(one[:, 1])) > 100
    assert (one[:, 1] != other[:, 1]).sum() > 150
    again = lists(made[0], 2, pool=pool[:1], scores=scores[:1], seen=[[104, 4, 3]])
    assert again == [one[99].tolist()], "the order of a history and the other viewers do not matter"


def test_each_rare_video_is_drawn_about_as_often():
    viewers = 4000
    made = reranker(authors=[-1] * 5000, rare=range(10, 20), explore_slots=2)
    seen = [[100 + viewer] for viewer in range(viewers)]
    drawn = np.array(lists(made, 3, pool=[[0, 1, 2]] * viewers, scores=[[3, 2, 1]] * viewers, seen=seen))[:, 1:]
    counts = np.bincount(drawn.ravel())[10:]
    assert counts.sum() == 2 * viewers
    assert (abs(counts - 800) < 5 * np.sqrt(800)).all()


def test_what_is_shown_anyway_is_not_drawn():
    assert lists(reranker(rare=[0, 4], explore_slots=1), 2) == [[0, 4]]
    assert lists(reranker(rare=[0, 1], explore_slots=1), 2) == [[0, 1]]
    assert lists(reranker(rare=[5], explore_slots=1), 2, seen=[[5]]) == [[0, 1]]
    assert lists(reranker(rare=[4, 5], explore_slots=9, authors=[0] * 6, per_author=1), 3) in (
        [[4, -1, -1]],
        [[5, -1, -1]],
    )


def test_a_catalogue_of_one_and_a_pool_shorter_than_the_list():
    everything = {"diversity": 0.5, "per_author": 1, "fresh_slots": 1, "explore_slots": 1}
    made = reranker(vectors=PAIRS[:1], authors=[0], fresh=[0], rare=[0], **everything)
    assert lists(made, 1, pool=[[0]], scores=[[1]]) == [[0]]
    assert lists(made, 3, pool=[[0, -1, -1]], scores=[[1, -np.inf, -np.inf]]) == [[0, -1, -1]]
    assert lists(made, 2, pool=[[-1, -1]], scores=[[-np.inf, -np.inf]], seen=[[0]]) == [[-1, -1]]
    assert made.lists(np.zeros((0, 2), np.int32), np.zeros((0, 2), np.float32), sequences(), 2).shape == (0, 2)


@pytest.mark.parametrize("k", [0, 6])
def test_shapes_that_do_not_fit_are_refused(k):
    with pytest.raises(ValueError, match=rf"as many histories, and k >= 1\. Received: \(1, 5\), .*k={k}"):
        lists(reranker(), k)


def test_the_pool_is_as_long_as_the_list_at_least():
    assert (reranker(pool=30).pool_size(20), reranker(pool=3).pool_size(20)) == (30, 20)


@st.composite
def cases(draw):
    """A ranked pool of each viewer, and what they have seen, over a small catalogue with authors."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_videos, n_viewers = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    seen = [rng.permutation(n_videos)[: rng.integers(0, n_videos + 1)].tolist() for _ in range(n_viewers)]
    vectors = rng.normal(size=(n_videos, 3)).astype(np.float32).round(draw(st.integers(0, 4)))
    size = draw(st.integers(1, 40))
    viewers = rng.normal(size=(n_viewers, 3)).astype(np.float32).round(1)
    pool, scores = top_k(viewers, vectors, sequences(*seen), size)
    facts = {"vectors": vectors, "authors": rng.integers(-1, 4, n_videos)}
    facts |= {name: rng.permutation(n_videos)[: rng.integers(0, n_videos + 1)] for name in ("fresh", "rare")}
    return facts, pool, scores, seen, draw(st.integers(1, size))


PARAMS = st.fixed_dictionaries(
    {
        "diversity": st.sampled_from([0.0, 0.3, 1.0]),
        "per_author": st.sampled_from([None, 1, 2]),
        "fresh_slots": st.integers(0, 4),
        "explore_slots": st.integers(0, 4),
    }
)


@given(cases())
def test_with_nothing_asked_for_a_list_is_what_it_was(case):
    facts, pool, scores, seen, k = case
    assert lists(reranker(**facts), k, pool=pool, scores=scores, seen=seen) == pool[:, :k].tolist()


@given(cases(), PARAMS)
def test_what_holds_of_any_list(case, params):
    facts, pool, scores, seen, k = case
    made = reranker(**facts, **params)
    found = lists(made, k, pool=pool, scores=scores, seen=seen)
    for row, watched, best in zip(found, seen, pool.tolist(), strict=True):
        shown = [video for video in row if video >= 0]
        assert row == shown + [-1] * (k - len(shown))
        assert len(set(shown)) == len(shown)
        assert not set(shown) & set(watched)
        assert max(shown, default=0) < len(facts["authors"])
        by = [author for author in facts["authors"][shown] if author >= 0]
        if params["per_author"]:
            assert max(map(by.count, by), default=0) <= params["per_author"]
        else:
            assert len(shown) == min(k, sum(video >= 0 for video in best))
            fresh = set(facts["fresh"].tolist()) - set(watched)
            wanted = min(params["fresh_slots"], len(fresh), k - min(params["explore_slots"], k))
            assert len(fresh & set(shown)) >= wanted
    alone = [lists(made, k, pool=pool[[v]], scores=scores[[v]], seen=[seen[v]])[0] for v in range(len(seen))]
    assert alone == found


@given(cases(), st.sampled_from([0.2, 0.5, 0.9]))
def test_diversity_is_that_of_the_paper_computed_plainly(case, diversity):
    facts, pool, scores, seen, k = case
    found = lists(reranker(**facts, diversity=diversity), k, pool=pool, scores=scores, seen=seen)
    for row, best, own in zip(found, pool, scores, strict=True):
        assert row == plain(best[best >= 0], own[best >= 0], facts["vectors"], diversity, k)


def plain(pool, scores, vectors, diversity, k):
    """Maximal marginal relevance, as the paper has it."""
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    scores = scores.astype(np.float64)
    span = np.ptp(scores) if len(scores) else 0
    chosen = []

    def value(place):
        worth = (scores[place] - scores.min()) / span if span else 0.0
        sizes = lengths[pool[place]] * lengths[pool[chosen]]
        products = vectors[pool[chosen]] @ vectors[pool[place]]
        cosines = np.divide(products, sizes, out=np.zeros(len(chosen)), where=sizes > 0)
        return round((1 - diversity) * worth - diversity * cosines.max(initial=-1), 5)

    while len(chosen) < min(k, len(pool)):
        chosen.append(max((place for place in range(len(pool)) if place not in chosen), key=value))
    return [int(pool[place]) for place in chosen] + [-1] * (k - len(chosen))
