"""Fields and JSON."""

import json

import pytest

from flows.views.printing import show, show_fields
from tests.flows.views.terminal import RELEASE, seen


def test_fields_leave_out_what_is_unknown_and_keep_brackets() -> None:
    assert seen(show_fields, {"live release": RELEASE, "model version": None, "reason": "[bold] [/] :smile:"}) == (
        f"live release  {RELEASE}\nreason        [bold] [/] :smile:"
    )


def test_json_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"title": "今天 [/] 🍜", "score": 0.5}
    show(content, show_fields, as_json=True)
    assert json.loads(capsys.readouterr().out) == content
    show(content, show_fields, as_json=False)
    assert "今天 [/] 🍜" in capsys.readouterr().out
