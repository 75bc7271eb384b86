"""How a step's process ends, and files that are whole or not there."""

import json
import os
import subprocess
import sys

import pytest

from tasks.stage import read_json, write_json

STEP = "from infra.errors import *\nfrom tasks.stage import stage\ndef main(*words):\n    {body}\nstage(main)\n"


def run(tmp_path, body, *words):
    done = subprocess.run(
        [sys.executable, "-c", STEP.format(body=body), *words],
        env=os.environ | {"NIGHTREEL_LOGS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    (log,) = tmp_path.glob("*.jsonl")
    return done, [json.loads(line) for line in log.read_text().splitlines()]


def test_a_step_gets_its_words_and_says_that_it_is_done(tmp_path):
    done, lines = run(tmp_path, "assert words == ('ease',), words", "ease")
    assert done.returncode == 0
    assert [line["message"].split(":")[0] for line in lines] == ["-c@ease"]


def test_a_refusal_is_a_sentence_and_exit_1(tmp_path):
    done, lines = run(tmp_path, "raise Refused('volume fell')")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (lines[-1]["error"], lines[-1]["message"]) == ("Refused", "volume fell")


def test_bad_input_is_a_sentence_and_exit_2(tmp_path):
    done, lines = run(tmp_path, "raise BadInput('no column')")
    assert done.returncode == 2
    assert lines[-1]["error"] == "BadInput"


def test_a_defect_keeps_its_trace_and_ends_with_70(tmp_path):
    done, lines = run(tmp_path, "1 / 0")
    assert done.returncode == 70
    assert "ZeroDivisionError" in lines[-1]["trace"]


def test_json_is_sorted_and_read_back(tmp_path):
    write_json(tmp_path / "a/b.json", {"z": 1, "a": [0.5, None]})
    assert (tmp_path / "a/b.json").read_text() == '{\n "a": [\n  0.5,\n  null\n ],\n "z": 1\n}\n'
    assert read_json(tmp_path / "a/b.json") == {"z": 1, "a": [0.5, None]}


def test_nan_is_no_json_and_leaves_what_was_there(tmp_path):
    write_json(tmp_path / "b.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"a": float("nan")})
    assert read_json(tmp_path / "b.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
