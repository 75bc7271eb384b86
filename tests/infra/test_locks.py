"""Who cannot have a lock at once waits, or is refused with the sentence that it was given."""

from pathlib import Path

import pytest

from infra.errors import Refused
from infra.locks import locked


@pytest.mark.parametrize(("shared", "with_others"), [(True, True), (True, False), (False, True), (False, False)])
def test_only_those_who_share_meet(tmp_path: Path, *, shared: bool, with_others: bool) -> None:
    lock = tmp_path / "home/in-use.lock"
    with locked(lock, shared=shared):
        if shared and with_others:
            with locked(lock, shared=True, or_refuse="never"):
                return
        with pytest.raises(Refused, match=r"^Wait\.$"), locked(lock, shared=with_others, or_refuse="Wait."):
            pass
    with locked(lock, or_refuse="never"):
        pass
