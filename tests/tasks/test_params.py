"""params.yaml as one typed tree: what it refuses, and how it says so."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from infra.errors import BadInput
from models.params import Candidates, Section
from tasks.params import Params, load_params, parse_params, with_overrides

ROOT = Path(__file__).parents[2]


def test_the_committed_file_is_whole():
    params = load_params(ROOT / "params.yaml")
    assert params.candidates == ["popularity", "itemknn", "ease", "sasrec"]
    assert params.evaluate.primary == "ndcg@10"
    assert params.rerank is None


def test_a_dumped_tree_is_read_back_equal():
    params = load_params(ROOT / "params.yaml")
    assert parse_params(yaml.safe_load(yaml.safe_dump(params.model_dump(mode="json"))), where="dump") == params


def test_the_tree_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Params().seed = 1


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.ease.l3=1", "unknown key train.ease.l3"),
        ("sead=1", "unknown key sead"),
        ("train.ease.l2=lots", "train.ease.l2: input should be a valid number. Received: 'lots'"),
        ("train.ease.l2=0", "train.ease.l2: input should be greater than 0. Received: 0"),
        ("seed=1.5", "seed: input should be a valid integer. Received: 1.5"),
        (
            "candidates=[bert]",
            "candidates.0: input should be 'popularity', 'itemknn', 'ease', 'sasrec', 'userknn', 'hybridcf', "
            "'ials', 'easemarkov', 'gru4rec' or 'bert4rec'. Received: 'bert'",
        ),
        ("rerank.diversity=1.1", "rerank.diversity: input should be less than or equal to 1. Received: 1.1"),
        ("rerank.diversity=-0.1", "rerank.diversity: input should be greater than or equal to 0. Received: -0.1"),
        ("rerank.pool=0", "rerank.pool: input should be greater than or equal to 1. Received: 0"),
        ("rerank.pool=1001", "rerank.pool: input should be less than or equal to 1000. Received: 1001"),
        ("rerank.per_author=0", "rerank.per_author: input should be greater than or equal to 1. Received: 0"),
        ("rerank.fresh_slots=-1", "rerank.fresh_slots: input should be greater than or equal to 0. Received: -1"),
        ("rerank.fresh_days=0", "rerank.fresh_days: input should be greater than 0. Received: 0"),
        ("rerank.fresh_days=.inf", "rerank.fresh_days: input should be a finite number. Received: inf"),
        ("rerank.diversity=.nan", "rerank.diversity: input should be"),
        ("rerank.explore_slots=0.5", "rerank.explore_slots: input should be a valid integer. Received: 0.5"),
        ("rerank.mmr=1", "unknown key rerank.mmr"),
        ("evaluate.primary=ndcg@11", "map@20. Received: 'ndcg@11'"),
        ("evaluate.ks=[]", "evaluate.ks: list should have at least 1 item after validation, not 0. Received: []"),
        ("train.ease=3", "train.ease must be a section of keys. Received: 3"),
        ("train.sasrec.heads=3", "train.sasrec: dim must be a multiple of heads. Received: dim=64, heads=3"),
        ("train.content.weights={text: .nan}", "weights.text: input should be a finite number. Received: nan"),
        (
            "candidates=[ease, ease]",
            "params.yaml: candidates, content_candidates and rankers must name one candidate or more, each once. "
            "Received: ease, ease, content",
        ),
        ("seed=-1", "seed: input should be greater than or equal to 0. Received: -1"),
        ("prepare.positives.rating_at_least=.nan", "input should be a finite number. Received: nan"),
        ("prepare.grades.liked=-0.5", "input should be greater than or equal to 0. Received: -0.5"),
        ("name=Home Feed", "name: string should match pattern"),
        ("seed", "--set takes key=value, such as train.ease.l2=100. Received: 'seed'"),
        ("seed.deep=1", "--set cannot go below seed, which is a value, not a section. Received: seed.deep"),
        ("seed=[", "The value of --set seed is not YAML"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_key(override, sentence):
    with pytest.raises(BadInput) as told:
        load_params(ROOT / "params.yaml", [override])
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_one_key_switches_re_ranking_on_and_the_others_stay_neutral():
    rules = load_params(ROOT / "params.yaml", ["rerank.per_author=2"]).rerank
    assert rules.model_dump() == {
        "pool": 100, "diversity": 0.0, "per_author": 2, "fresh_slots": 0, "fresh_days": 7.0, "explore_slots": 0,
    }  # fmt: skip


def numbers_of(section, *at):
    """The dotted key and value of each number below `section`."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from numbers_of(value, *at, name)
        elif type(value) in (int, float):
            yield ".".join((*at, name)), value


NUMBERS = dict(numbers_of(Params().train, "train"))


@pytest.mark.parametrize("key", NUMBERS)
def test_each_number_of_each_candidate_refuses_what_is_none(key):
    whole = isinstance(NUMBERS[key], int)
    refused = {".nan": "nan", ".inf": "inf", "-1": "-1", "lots": "'lots'", "true": "True", "[1]": "[1]"}
    refused |= {"1.5": "1.5", "99999999999": "99999999999"} if whole else {}
    if ".weights." in key:  # what is disliked may count against a video
        del refused["-1"]
    for value, shown in refused.items():
        with pytest.raises(BadInput) as told:
            load_params(ROOT / "params.yaml", [f"{key}={value}"])
        assert re.fullmatch(
            rf".*params\.yaml: {key}: input should be .+\. Received: {re.escape(shown)}", str(told.value)
        )


@pytest.mark.parametrize("candidate", Candidates.model_fields)
def test_an_unknown_key_of_each_candidate_is_named(candidate):
    with pytest.raises(BadInput, match=rf"unknown key train\.{candidate}\.nope$"):
        load_params(ROOT / "params.yaml", [f"train.{candidate}.nope=1"])


def test_overrides_go_deep_and_leave_the_rest():
    tree = {"train": {"ease": {"l2": 1, "neighbours": 5}}}
    assert with_overrides(tree, ["train.ease.l2=2.5", "seed=7"]) == {
        "train": {"ease": {"l2": 2.5, "neighbours": 5}},
        "seed": 7,
    }
    assert tree == {"train": {"ease": {"l2": 1, "neighbours": 5}}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "No parameters: .* does not exist"),
        ("- a\n", "must hold a mapping of sections. Received: list"),
        ("a: [\n", "is not YAML"),
    ],
)
def test_a_file_that_is_no_tree(tmp_path, text, sentence):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=sentence):
        load_params(path)
