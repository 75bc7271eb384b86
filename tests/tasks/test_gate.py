import copy
import json
import logging
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import paths
from tasks.checks import Side
from tasks.gate import Evidence, gate, judge
from tasks.params import Gate, Params
from tasks.slices import LABELS, SLICED_BY
from tasks.stage import write_json

CANDIDATES = ["popularity", "ease", "sasrec"]
RELEASE = "ab" * 32
PRIMARY = "ndcg@10"
BOUNDS = Gate(resamples=200)


def rows(figures):
    n = len(figures)
    labels = [LABELS[i % 3] for i in range(n)]
    return pl.DataFrame(
        {
            "user_id": list(range(100, 100 + n)),
            "viewer": pl.Series(range(n), dtype=pl.Int32),
            PRIMARY: pl.Series(figures, dtype=pl.Float64),
            "recall@10": pl.Series(figures, dtype=pl.Float64),
            **{by: labels for by in SLICED_BY},
        }
    )


def facts_of(viewers, candidate):
    slices = {}
    for by in SLICED_BY:
        for label in sorted(viewers[by].unique()):
            within = viewers.filter(pl.col(by) == label)
            slices[f"{by}={label}"] = {"viewers": within.height, PRIMARY: within[PRIMARY].mean()}
    metrics = {PRIMARY: viewers[PRIMARY].mean(), "recall@10": viewers["recall@10"].mean()}
    return {
        "candidate": candidate,
        "metrics": metrics | {"coverage@10": 0.2, "popularity_bias@10": 2.0},
        "slices": slices,
        "viewers": viewers.height,
        "left_out": 1,
        "split_digest": "cd" * 32,
        "milliseconds": 1.5,
        "megabytes": 3.0,
    }


BASE = np.random.default_rng(0).random(120) * 0.5


def evidence(gain, *, champion=True, challenger="ease"):
    """A challenger whose every figure is `gain` above the reference's."""
    ours, theirs = rows(BASE + gain), rows(BASE)
    record = facts_of(theirs, "sasrec" if champion else "popularity")
    return {
        "challenger": facts_of(ours, challenger),
        "challenger_rows": ours,
        "reference": record,
        "reference_rows": theirs,
        "validation": {"passed": True},
        "index": {"challenger": challenger, "recall@10": 0.99, "space": "ef", "videos": 9},
        "champion": {"release": RELEASE, **record} if champion else {"release": None},
    }


def verdict_of(given, params=BOUNDS):
    champion = given["champion"]
    known = isinstance(champion, dict) and champion.get("release", "") is not None
    reference = champion if known else given["reference"]
    return judge(
        Evidence(
            challenger=Side("ease", given["challenger"], given["challenger_rows"]),
            reference=Side("the champion" if known else "popularity", reference, given["reference_rows"]),
            validation=given["validation"],
            index=given["index"],
            champion=champion,
            failed_candidates=[],
        ),
        params=params,
        candidates=CANDIDATES,
        primary=PRIMARY,
        seed=1,
    )


def failing(verdict):
    assert verdict.passed == all(check.passed for check in verdict.checks)
    assert all(check.reason for check in verdict.checks)
    return [check.name for check in verdict.checks if not check.passed]


def test_a_better_challenger_passes_every_check():
    verdict = verdict_of(evidence(0.02))
    assert (verdict.passed, verdict.challenger, verdict.champion, verdict.against) == (
        True,
        "ease",
        RELEASE,
        "champion",
    )
    assert [check.name for check in verdict.checks] == [
        "validated snapshot",
        "challenger",
        "champion",
        "figures",
        "same holdout",
        "primary",
        *[f"slice {by}={label}" for by in SLICED_BY for label in sorted(LABELS)],
        "coverage@10",
        "popularity_bias@10",
        "milliseconds",
        "megabytes",
        "index recall",
    ]
    primary = verdict.checks[5]
    assert (primary.challenger, primary.champion) == (pytest.approx(BASE.mean() + 0.02), pytest.approx(BASE.mean()))
    assert primary.bound == -BOUNDS.margin


@pytest.mark.parametrize(
    ("rule", "gain", "passed"),
    [
        ("non-inferior", 0.0, True),
        ("non-inferior", -0.004, True),
        ("non-inferior", -0.006, False),
        ("better", 0.0, False),
        ("better", 0.001, True),
    ],
)
def test_the_rule_decides_how_much_worse_or_better_is_enough(rule, gain, passed):
    verdict = verdict_of(evidence(gain), Gate(resamples=200, rule=rule, margin=0.005))
    assert failing(verdict) == ([] if passed else ["primary"])


def test_a_gain_that_could_be_chance_is_not_better():
    given = evidence(0.0)
    noise = np.random.default_rng(4).normal(scale=0.1, size=len(BASE))
    given["challenger_rows"] = rows(BASE + noise - noise.mean() + 0.005)
    given["challenger"] = facts_of(given["challenger_rows"], "ease")
    assert "primary" in failing(verdict_of(given, Gate(resamples=500, rule="better", slice_margin=1)))


def test_without_a_champion_the_challenger_must_beat_popularity():
    beaten = verdict_of(evidence(0.02, champion=False))
    assert (beaten.passed, beaten.champion, beaten.against) == (True, None, "popularity")
    assert failing(verdict_of(evidence(0.0, champion=False))) == ["primary"]


def test_popularity_does_not_pass_against_itself():
    given = evidence(0.02, champion=False, challenger="popularity")
    both = Side("popularity", given["challenger"], given["challenger_rows"])
    found = judge(
        Evidence(both, both, given["validation"], given["index"], given["champion"], []),
        params=BOUNDS,
        candidates=CANDIDATES,
        primary=PRIMARY,
        seed=1,
    )
    assert failing(found) == ["primary"]
    assert "no candidate was better" in next(check.reason for check in found.checks if not check.passed)


def test_one_slice_that_loses_more_than_its_margin_fails_alone():
    given = evidence(0.02)
    worse = pl.when(pl.col("activity") == "low").then(pl.col(PRIMARY) - 0.08).otherwise(pl.col(PRIMARY) + 0.1)
    given["challenger_rows"] = given["challenger_rows"].with_columns(
        worse.alias(PRIMARY),
        video_age=pl.Series(LABELS * 40).reverse(),
        video_popularity=pl.Series([LABELS[i // 40] for i in range(120)]),
    )
    given["challenger"] = facts_of(given["challenger_rows"], "ease")
    given["reference_rows"] = given["reference_rows"].with_columns(given["challenger_rows"].select(SLICED_BY))
    given["champion"] |= facts_of(given["reference_rows"], "sasrec")
    given["champion"]["release"] = RELEASE
    assert "slice activity=low" in failing(verdict_of(given))
    assert "slice activity=mid" not in failing(verdict_of(given))


@pytest.mark.parametrize(
    ("part", "keys", "value", "check"),
    [
        ("challenger", ["metrics", "coverage@10"], 0.001, "coverage@10"),
        ("challenger", ["metrics", "popularity_bias@10"], 51, "popularity_bias@10"),
        ("challenger", ["milliseconds"], 201, "milliseconds"),
        ("challenger", ["megabytes"], 501, "megabytes"),
        ("index", ["recall@10"], 0.94, "index recall"),
        ("validation", ["passed"], False, "validated snapshot"),
        ("validation", ["passed"], 1, "validated snapshot"),
        ("challenger", ["split_digest"], "another", "same holdout"),
        ("challenger", ["viewers"], 119, "same holdout"),
        ("challenger", ["metrics", PRIMARY], 0.9, "same holdout"),
        ("challenger", ["slices", "activity=low", PRIMARY], 0.9, "slice activity=low"),
        ("challenger", ["candidate"], "sasrec", "challenger"),
        ("index", ["challenger"], "unheard-of", "challenger"),
        ("index", ["recall@20"], 1.0, "index recall"),
    ],
)
def test_each_bound_and_each_contradiction_fails_its_check(part, keys, value, check):
    given = evidence(0.02)
    replace(given[part], keys, value)
    assert check in failing(verdict_of(given))


def test_viewers_of_another_night_are_not_compared():
    given = evidence(0.02)
    given["challenger_rows"] = given["challenger_rows"].with_columns(user_id=pl.col("user_id") + 1)
    assert failing(verdict_of(given)) == ["same holdout", "primary", "slices"]


def test_a_slice_with_nobody_in_it_fails():
    given = evidence(0.02)
    for part in ("challenger", "champion"):
        given[part]["slices"]["activity=none"] = {"viewers": 0, PRIMARY: 0.0}
    assert failing(verdict_of(given)) == ["slice activity=none"]


def replace(tree, keys, value):
    for key in keys[:-1]:
        tree = tree[key]
    tree[keys[-1]] = value


def places(tree, above=()):
    """Every key of a tree, inner ones too."""
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


NEEDLESS = {("index", "space"), ("index", "videos")}
PLACES = [
    (part, keys)
    for part in ("challenger", "champion", "validation", "index")
    for keys in places(evidence(0.02)[part])
    if (part, *keys) not in NEEDLESS
]
DELETE = object()
BAD = st.one_of(
    st.sampled_from([DELETE, None, float("nan"), float("inf"), True, "", [], {}, 10**400, "0.5"]),
    st.recursive(
        st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=4
    ),
)


@pytest.mark.parametrize("value", [DELETE, None, float("nan")], ids=["deleted", "null", "nan"])
def test_any_single_field_gone_fails_the_verdict(value):
    for part, keys in PLACES:
        given = spoilt(evidence(0.02), part, keys, value)
        assert not verdict_of(given).passed, (part, keys)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), BAD), min_size=1, max_size=4))
def test_whatever_is_in_the_files_there_is_a_verdict(faults):
    given, sound = evidence(0.02), True
    for (part, keys), value in faults:
        before, given = given[part], spoilt(given, part, keys, value)
        # A text in place of another may be one that is allowed; nothing else here can be.
        sound = sound and (isinstance(value, str) or given[part] == before)
    verdict = verdict_of(given)
    assert sound or not verdict.passed
    json.dumps([vars(check) for check in verdict.checks], allow_nan=False)


def spoilt(given, part, keys, value):
    """`given` with one place changed or deleted; a place that an earlier fault took away stays away."""
    given = given | {part: copy.deepcopy(given[part])}
    tree = given[part]
    for key in keys[:-1]:
        if not isinstance(tree, dict) or key not in tree:
            return given
        tree = tree[key]
    if not isinstance(tree, dict):
        return given
    if value is DELETE:
        tree.pop(keys[-1], None)
    else:
        tree[keys[-1]] = value
    return given


@pytest.mark.parametrize("part", ["challenger", "champion", "validation", "index"])
@pytest.mark.parametrize("value", [None, [], "text", 3, {}])
def test_a_whole_file_of_something_else_fails_the_verdict(part, value):
    assert not verdict_of(evidence(0.02) | {part: value}).passed


BAD_ROWS = {
    "missing": lambda rows: None,
    "empty": lambda rows: rows.clear(),
    "one short": lambda rows: rows.head(-1),
    "shuffled": lambda rows: rows.sample(fraction=1.0, shuffle=True, seed=1),
    "no metric": lambda rows: rows.drop(PRIMARY),
    "text for a metric": lambda rows: rows.with_columns(pl.col(PRIMARY).cast(pl.String)),
    "nan": lambda rows: rows.with_columns(pl.Series(PRIMARY, [float("nan"), *rows[PRIMARY][1:]])),
    "null": lambda rows: rows.with_columns(pl.Series(PRIMARY, [None, *rows[PRIMARY][1:]])),
    "no viewers' ids": lambda rows: rows.drop("user_id"),
    "other type of id": lambda rows: rows.with_columns(pl.col("user_id").cast(pl.String)),
    "null slice": lambda rows: rows.with_columns(activity=pl.lit(None, pl.String)),
    "no slice": lambda rows: rows.drop("activity"),
    "numbered slice": lambda rows: rows.with_columns(activity=pl.lit(1)),
}


@pytest.mark.parametrize("side", ["challenger_rows", "reference_rows"])
@pytest.mark.parametrize("fault", BAD_ROWS)
def test_bad_viewer_rows_fail_the_verdict(side, fault):
    given = evidence(0.02)
    given[side] = BAD_ROWS[fault](given[side])
    assert {"same holdout", "primary"} <= set(failing(verdict_of(given)))


def written(root, given):
    """The files of a run, as the steps before the gate leave them."""
    write_json(root / paths.VALIDATION_METRICS, given["validation"])
    write_json(root / paths.INDEX_METRICS, given["index"])
    write_json(root / paths.CHAMPION_METRICS, given["champion"])
    evaluations = {"ease": ("challenger", "challenger_rows"), "popularity": ("reference", "reference_rows")}
    for name, (facts, viewers) in evaluations.items():
        write_json(root / paths.EVALUATE_METRICS / f"{name}.json", given[facts])
        (root / paths.EVALUATION / name).mkdir(parents=True)
        given[viewers].write_parquet(root / paths.EVALUATION / name / "viewers.parquet")
    (root / paths.CHAMPION_EVALUATION).mkdir(parents=True)
    given["reference_rows"].write_parquet(root / paths.CHAMPION_EVALUATION / "viewers.parquet")


PARAMS = Params(name="test", candidates=CANDIDATES, gate=BOUNDS)


@pytest.mark.parametrize("champion", [True, False])
def test_the_stage_writes_its_verdict_from_the_files_of_a_run(tmp_path, champion, caplog):
    written(tmp_path, evidence(0.02, champion=champion))
    caplog.set_level(logging.INFO, logger="tasks")
    verdict = gate(PARAMS, root=tmp_path)
    left = json.loads((tmp_path / paths.VERDICT).read_text())
    assert verdict.passed
    assert {key: left[key] for key in ("passed", "challenger", "champion", "against", "failed_candidates")} == {
        "passed": True,
        "challenger": "ease",
        "champion": RELEASE if champion else None,
        "against": "champion" if champion else "popularity",
        "failed_candidates": ["sasrec"],
    }
    assert left["checks"][5] == vars(verdict.checks[5])
    assert caplog.messages == [f"verdict passed | ease against {left['against']} | 20 of 20 checks"]


FILES = [
    paths.VALIDATION_METRICS,
    paths.INDEX_METRICS,
    paths.CHAMPION_METRICS,
    paths.EVALUATE_METRICS / "ease.json",
    paths.EVALUATION / "ease" / "viewers.parquet",
    paths.CHAMPION_EVALUATION / "viewers.parquet",
]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_missing_file_fails_the_verdict(tmp_path, file):
    written(tmp_path, evidence(0.02))
    (tmp_path / file).unlink()
    assert failing(gate(PARAMS, root=tmp_path))


@pytest.mark.parametrize("file", FILES, ids=str)
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"[" * 99999])
def test_a_damaged_file_fails_the_verdict(tmp_path, file, damage):
    written(tmp_path, evidence(0.02))
    (tmp_path / file).write_bytes(damage((tmp_path / file).read_bytes()))
    assert failing(gate(PARAMS, root=tmp_path))


def test_an_empty_run_has_a_verdict_too(tmp_path):
    verdict = gate(PARAMS, root=tmp_path)
    assert not verdict.passed
    assert verdict.failed_candidates == CANDIDATES


def test_the_gate_needs_no_keras_and_no_matplotlib():
    heavy = ["keras", "tensorflow", "matplotlib", "mlflow"]
    asked = f"import sys, tasks.gate; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout == "[]\n"
