import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.region_graph import HOUR_MS, RegionEvents, RegionGraph

MINUTE = 60_000
DAY = 24 * HOUR_MS
ROW = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5 * DAY))


def events(*rows):
    """From (viewer, region, time in ms)."""
    viewers, regions, times = np.array(sorted(rows, key=lambda row: (row[0], row[2])), np.int64).reshape(-1, 3).T
    return RegionEvents(viewers, regions, times)


def graph(found, names=("north", "south", "west"), *, dim=4, max_gap_hours=24.0):
    return RegionGraph.build(names, found, dim=dim, max_gap_hours=max_gap_hours)


def drawn(n, *, extra=()):
    """`n` events of 50 viewers in 4 regions over 30 days, and `extra` (region, hour, events)."""
    draw = np.random.default_rng(3)
    rows = list(zip(draw.integers(0, 50, n), draw.integers(0, 4, n), draw.integers(0, 30 * DAY, n), strict=True))
    for region, hour, more in extra:
        days = draw.integers(0, 30, more)
        rows += [(draw.integers(0, 50), region, day * DAY + hour * HOUR_MS) for day in days]
    return events(*rows)


HAND = events(
    (0, 0, 10 * MINUTE),  # north at 0 h
    (0, 0, 20 * MINUTE),  # stays
    (0, 1, 2 * HOUR_MS),  # south at 2 h
    (0, 0, 2 * HOUR_MS + 2 * DAY),  # after two days: no step
    (1, 0, 30 * MINUTE),  # another viewer: no step from the one above
    (1, 1, 3 * HOUR_MS),
)


def test_a_small_graph_by_hand():
    found = graph(HAND, ("north", "south"))
    nonzero = {tuple(map(int, at)): int(found.edges.toarray()[tuple(at)]) for at in np.argwhere(found.edges.toarray())}
    assert nonzero == {(0, 0): 1, (0, 24 + 2): 1, (0, 24 + 3): 1}
    assert found.events[0, [0, 2]].tolist() == [3, 1]
    assert found.visits[0, [0, 2]].tolist() == [2, 1]  # the first viewer's two events of one hour are one visit
    assert found.events[1, [2, 3]].tolist() == [1, 1]
    assert found.flows().tolist() == [[0, 0, 0, 1], [0, 0, 1, 2]]


def test_a_gap_of_just_the_longest_is_a_step_and_a_millisecond_more_is_none():
    assert graph(events((0, 0, 0), (0, 1, HOUR_MS)), max_gap_hours=1.0).edges.sum() == 1
    assert graph(events((0, 0, 0), (0, 1, HOUR_MS + 1)), max_gap_hours=1.0).edges.sum() == 0


@given(st.lists(ROW, min_size=1, max_size=40))
def test_flows_sum_to_the_steps_counted_one_by_one(rows):
    found = events(*rows)
    follows = [
        (one, other)
        for one, other in zip(range(len(rows)), range(1, len(rows)), strict=False)
        if found.viewers[one] == found.viewers[other] and found.times[other] - found.times[one] <= DAY
    ]
    flows = graph(found).flows()
    counted = {}
    for one, other in follows:
        key = (int(found.times[one] // HOUR_MS % 24), int(found.regions[one]), int(found.regions[other]))
        counted[key] = counted.get(key, 0) + 1
    assert [tuple(row) for row in flows.tolist()] == [(*key, counted[key]) for key in sorted(counted)]
    assert graph(found).events.sum() == len(rows)


@given(st.lists(ROW, min_size=1, max_size=40), st.permutations(range(4)))
def test_viewers_in_another_order_are_the_same_rows_in_that_order(rows, order):
    one, other = events(*rows), events(*((order[viewer], region, time) for viewer, region, time in rows))
    vectors = [graph(each).trajectories(each, n_viewers=4, half_life_days=2.0) for each in (one, other)]
    np.testing.assert_array_equal(vectors[1][list(order)], vectors[0])


def test_the_planted_hot_spot_is_found_and_nothing_else():
    assert not graph(drawn(20_000), tuple("abcd")).hot_spots().hot.any()
    planted = graph(drawn(20_000, extra=[(2, 17, 120)]), tuple("abcd"))
    assert np.argwhere(planted.hot_spots().hot).tolist() == [[2, 17]]
    np.testing.assert_allclose(planted.hot_spots().expected.sum(), planted.visits.sum())


def test_one_sitting_of_many_events_is_no_hot_spot():
    binge = [(0, 1, 5 * HOUR_MS + second * 1000) for second in range(500)]
    calm = drawn(20_000)
    rows = [*zip(calm.viewers.tolist(), calm.regions.tolist(), calm.times.tolist(), strict=True), *binge]
    found = graph(events(*rows), tuple("abcd"))
    assert found.events[1, 5] >= 500
    assert not found.hot_spots().hot.any()


def test_residuals_are_those_of_haberman():
    table = np.zeros((2, 24), np.int64)
    table[:, :2] = [[30, 10], [10, 50]]
    found = RegionGraph(("a", "b"), table, table, graph(HAND).edges, np.zeros((48, 1), np.float32)).hot_spots()
    np.testing.assert_allclose(found.expected[:, :2], [[16, 24], [24, 36]])
    np.testing.assert_allclose(found.residual[0, 0], 14 / np.sqrt(16 * 0.6 * 0.6))
    assert found.hot[:, :2].tolist() == [[True, False], [False, True]]


def test_one_region_is_never_hot_and_is_finite():
    spots = graph(events((0, 0, 0), (0, 0, HOUR_MS)), ("only",)).hot_spots()
    assert np.isfinite(spots.residual).all()
    assert not spots.hot.any()


def test_a_trajectory_is_the_decayed_mean_of_the_nodes_at_unit_length():
    found = graph(HAND, ("north", "south"))
    nodes = found.vectors.astype(np.float64)
    own = events((0, 0, 0), (0, 1, 2 * HOUR_MS + DAY))
    wanted = 0.5 ** (26 / 24) * nodes[0] + nodes[24 + 2]
    vectors = found.trajectories(own, n_viewers=2, half_life_days=1.0)
    np.testing.assert_allclose(vectors[0], wanted / np.linalg.norm(wanted), rtol=1e-6)
    assert np.isnan(vectors[1]).all()


def test_a_viewer_whose_nodes_have_no_step_has_no_vector():
    found = graph(HAND, ("north", "south"))
    assert np.isnan(found.trajectories(events((0, 1, 12 * HOUR_MS)), n_viewers=1, half_life_days=None)).all()


def test_what_is_saved_is_read_back_and_has_the_same_bytes(tmp_path):
    names = ("Köln", 'a"b\\c', "北京\n", " ")
    found = graph(drawn(500), names)
    for folder in ("one", "two"):
        found.save(tmp_path / folder)
    again = RegionGraph.load(tmp_path / "one")
    assert again.regions == names
    for name in ("events", "visits", "vectors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert (again.edges != found.edges).nnz == 0
    for file in ("weights.safetensors", "config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_config_that_names_other_regions_is_refused(tmp_path):
    graph(HAND, ("north", "south")).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["regions"].append("west")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"must name a region a row of events\. Received: 3 names, 2 rows"):
        RegionGraph.load(tmp_path)


def test_no_events_are_a_graph_all_the_same(tmp_path):
    found = graph(events(), ())
    assert (found.flows().shape, found.hot_spots().hot.shape, found.vectors.shape) == ((0, 4), (0, 24), (0, 4))
    assert np.isnan(found.trajectories(events(), n_viewers=2, half_life_days=1.0)).all()
    found.save(tmp_path)
    assert RegionGraph.load(tmp_path).regions == ()
