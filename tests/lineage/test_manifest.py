"""A release's manifest: equal work gives equal bytes, and every changed file is named."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.errors import BadInput, Refused
from lineage.manifest import Environment, Facts, Manifest, Part, build, check

FACTS = Facts(
    name="movielens",
    data={"events": "e" * 64, "rows": 100_004, "days": ["2016-10-16"]},
    code="c" * 40,
    params="a" * 64,
    verdict="d" * 64,
    environment=Environment(lock="b" * 64, python="3.11.9", packages={"numpy": "2.4.0", "keras": "3.15.1"}),
    space="5" * 64,
    candidate="ease",
    as_of="2016-10-17",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, data in {"model/config.json": b"{}", "model/weights.bin": b"\x00\x01", "index/flat.bin": b""}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    return tmp_path


def test_build_digests_every_file(folder: Path) -> None:
    assert build(folder, FACTS).parts == {
        "index/flat.bin": Part(sha256=hashlib.sha256(b"").hexdigest(), bytes=0),
        "model/config.json": Part(sha256=hashlib.sha256(b"{}").hexdigest(), bytes=2),
        "model/weights.bin": Part(sha256=hashlib.sha256(b"\x00\x01").hexdigest(), bytes=2),
    }


def test_release_is_the_digest_of_the_canonical_bytes(folder: Path) -> None:
    manifest = build(folder, FACTS)
    content = {**json.loads(FACTS.model_dump_json()), "parts": {k: dict(v) for k, v in manifest.parts.items()}}
    expected = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    assert manifest.encoded() == expected
    assert manifest.release == hashlib.sha256(expected).hexdigest()


def test_order_of_facts_and_files_changes_nothing(folder: Path) -> None:
    turned = FACTS.model_copy(update={"data": dict(reversed(FACTS.data.items()))})
    manifest = build(folder, FACTS)
    again = Manifest(**dict(turned), parts=dict(reversed(manifest.parts.items())))
    assert again.release == manifest.release


@pytest.mark.parametrize(
    "change", [{"code": "f" * 40}, {"space": "6" * 64}, {"as_of": "2016-10-18"}, {"data": {"rows": 1}}]
)
def test_any_other_fact_is_another_release(folder: Path, change: dict[str, object]) -> None:
    assert build(folder, FACTS.model_copy(update=change)).release != build(folder, FACTS).release


part = st.builds(Part, sha256=st.text("0123456789abcdef", min_size=64, max_size=64), bytes=st.integers(0, 2**50))
name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1).filter(
    lambda text: text not in (".", "..")
)
value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    parts=st.dictionaries(st.lists(name, min_size=1, max_size=3).map("/".join), part, min_size=1, max_size=4),
    data=st.dictionaries(st.text(), value, max_size=4),
)
def test_any_manifest_comes_back_as_it_was(parts: dict[str, Part], data: dict[str, object]) -> None:
    manifest = Manifest(**dict(FACTS) | {"data": data}, parts=parts)
    again = Manifest.decode(manifest.encoded(), where="here")
    assert again == manifest
    assert again.release == manifest.release


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ".", "", "a//b", "a/", "./a", "a\0"])
def test_no_part_can_leave_the_folder(path: str) -> None:
    with pytest.raises(ValidationError, match="stay in the release's folder"):
        Manifest(**dict(FACTS), parts={path: Part(sha256="0" * 64, bytes=0)})


def test_bytes_that_are_no_manifest_are_refused(folder: Path) -> None:
    data = build(folder, FACTS).encoded()
    for wrong in (b"", b"[]", data[:-1], data.replace(b'"name"', b'"neme"')):
        with pytest.raises(Refused, match=r"^Manifest 7 is not a manifest that this version reads: "):
            Manifest.decode(wrong, where="Manifest 7")
    with pytest.raises(Refused, match=r"^Manifest 7 is not in canonical form\.$"):
        Manifest.decode(json.dumps(json.loads(data)).encode(), where="Manifest 7")


def test_not_a_number_has_no_place_in_a_manifest(folder: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        build(folder, FACTS.model_copy(update={"data": {"mean": float("nan")}})).encoded()


def test_empty_folder_makes_no_release(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(BadInput, match=f"at least one file. Received: {re.escape(str(tmp_path))}, which holds none"):
        build(tmp_path, FACTS)


def test_check_is_content_with_what_build_saw(folder: Path) -> None:
    check(folder, build(folder, FACTS))


def test_check_names_every_file_that_is_not_right(folder: Path) -> None:
    manifest = build(folder, FACTS)
    (folder / "model/weights.bin").write_bytes(b"\x00\x02")
    (folder / "model/config.json").unlink()
    (folder / "model/extra.py").touch()
    said = "model/config.json is missing; model/extra.py does not belong to it; model/weights.bin differs."
    with pytest.raises(Refused) as refused:
        check(folder, manifest)
    assert str(refused.value) == f"{folder} is not release {manifest.release[:12]}: {said}"
