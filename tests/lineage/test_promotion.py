"""Release, promote and rollback by one protocol: proven first, then one entry, or nothing at all."""

from pathlib import Path

import pytest

from infra.errors import BadInput, Refused
from infra.stores import FolderStore
from lineage.ledger import Draft, Entry, Ledger, LostRace
from lineage.manifest import build
from lineage.promotion import go_live, rollback_target
from lineage.releases import Releases
from lineage.retirement import retire
from tests.lineage.test_manifest import FACTS
from tests.lineage.test_signing import SIGNER


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def ledger(store: FolderStore) -> Ledger:
    return Ledger(store, "movielens")


@pytest.fixture
def releases(store: FolderStore, tmp_path: Path) -> Releases:
    return Releases(store, tmp_path / "cache")


@pytest.fixture
def published(releases: Releases, tmp_path: Path) -> list[str]:
    """Three releases that differ in their only file, `answer`."""
    names = []
    for number in range(3):
        folder = tmp_path / f"made-{number}"
        folder.mkdir()
        (folder / "answer").write_text(f"{number}")
        names.append(releases.publish(folder, build(folder, FACTS)))
    return names


def draft(release: str, *, action: str = "release", run: str | None = None) -> Draft:
    fields = {"action": action, "release": release, "run": run, "by": "ada", "reason": "a test"}
    return Draft.model_validate(fields)


def accept(folder: Path) -> None:
    assert (folder / "answer").exists()


def history(ledger: Ledger, names: list[str], *, order: list[int]) -> list[Entry]:
    entries: list[Entry] = []
    for night, number in enumerate(order):
        entries.append(
            ledger.append(draft(names[number], run=f"night {night}"), after=entries[-1] if entries else None)
        )
    return entries


def test_check_sees_the_release_before_it_is_live(ledger: Ledger, releases: Releases, published: list[str]) -> None:
    seen: list[tuple[str, str | None]] = []

    def check(folder: Path) -> None:
        seen.append(((folder / "answer").read_text(), ledger.live()))

    first = go_live(ledger, releases, draft(published[0]), after=None, check=check)
    second = go_live(ledger, releases, draft(published[1]), after=first, check=check)
    assert seen == [("0", None), ("1", published[0])]
    assert list(ledger.entries()) == [first, second]
    assert ledger.live() == published[1]


def test_release_that_cannot_answer_does_not_go_live(ledger: Ledger, releases: Releases, published: list[str]) -> None:
    def check(folder: Path) -> None:
        raise Refused(f"{folder.name[:12]} recommends nothing to viewer 1.")

    with pytest.raises(Refused, match="recommends nothing"):
        go_live(ledger, releases, draft(published[0]), after=None, check=check)
    assert ledger.head() is None


def test_damaged_release_is_neither_loaded_nor_live(
    ledger: Ledger, releases: Releases, published: list[str], tmp_path: Path
) -> None:
    digest = releases.manifest(published[1]).parts["answer"].sha256
    blob = tmp_path / "store" / "blobs" / "sha256" / digest[:2] / digest
    blob.write_text("8")
    first = go_live(ledger, releases, draft(published[0]), after=None, check=accept)
    with pytest.raises(Refused, match="is damaged in the store: answer differs"):
        go_live(ledger, releases, draft(published[1]), after=first, check=lambda folder: pytest.fail("was loaded"))
    assert ledger.head() == first


def test_release_of_another_recommender_is_refused(
    store: FolderStore, releases: Releases, published: list[str]
) -> None:
    other = Ledger(store, "kuairand")
    with pytest.raises(Refused, match=r"^Release \w{12} is of the recommender movielens, not of kuairand\.$"):
        go_live(other, releases, draft(published[0]), after=None, check=accept)
    assert other.head() is None


def test_unknown_release_is_bad_input(ledger: Ledger, releases: Releases) -> None:
    with pytest.raises(BadInput, match="no such release"):
        go_live(ledger, releases, draft("0" * 64), after=None, check=accept)


def test_decision_against_an_old_champion_loses(ledger: Ledger, releases: Releases, published: list[str]) -> None:
    first = go_live(ledger, releases, draft(published[0]), after=None, check=accept)
    second = go_live(ledger, releases, draft(published[1]), after=first, check=accept)
    with pytest.raises(LostRace):
        go_live(ledger, releases, draft(published[2]), after=first, check=accept)
    assert ledger.head() == second


def test_going_live_again_for_the_same_run_adds_nothing(
    ledger: Ledger, releases: Releases, published: list[str]
) -> None:
    night = draft(published[0], run="2016-10-17")
    entries = [go_live(ledger, releases, night, after=None, check=accept) for _ in range(2)]
    assert entries == [*ledger.entries()] * 2


@pytest.mark.parametrize(
    ("order", "to", "expected"),
    [
        ([0, 1], None, 1),
        ([0, 1, 2], None, 2),
        ([0, 1, 2], 1, 1),
        ([0, 1, 1], None, 1),  # the same release live twice in a row
        ([0, 1, 0], None, 2),
    ],
)
def test_rollback_goes_to(
    ledger: Ledger, releases: Releases, published: list[str], order: list[int], to: int | None, expected: int
) -> None:
    entries = history(ledger, published, order=order)
    assert rollback_target(ledger, releases, to=to) == entries[expected - 1]


@pytest.mark.parametrize(
    ("order", "to", "said"),
    [
        ([], None, "^Nothing of movielens is live"),
        ([], 1, "^Nothing of movielens is live"),
        ([0], None, "^No other release of movielens was ever live"),
        ([0, 0], None, "^No other release of movielens was ever live"),
        ([0, 1], 2, r"^Entry 2 names the release that is live already\. Received: --to 2$"),
        ([0, 1, 0], 1, "^Entry 1 names the release that is live already"),
        ([0, 1], 3, r"has no such entry\. Received: 3$"),
        ([0, 1], 0, r"has no such entry\. Received: 0$"),
        ([0, 1], -1, r"has no such entry\. Received: -1$"),
    ],
)
def test_rollback_to_nowhere_is_bad_input(
    ledger: Ledger, releases: Releases, published: list[str], order: list[int], to: int | None, said: str
) -> None:
    history(ledger, published, order=order)
    with pytest.raises(BadInput, match=said):
        rollback_target(ledger, releases, to=to)


def test_rollback_goes_live_like_anything_else(ledger: Ledger, releases: Releases, published: list[str]) -> None:
    _first, second = history(ledger, published, order=[0, 1])
    target = rollback_target(ledger, releases, to=None)
    third = go_live(ledger, releases, draft(target.release, action="rollback"), after=second, check=accept)
    assert (third.seq, third.action, ledger.live()) == (3, "rollback", published[0])


def test_rollback_goes_round_overrides_and_retired_releases(
    store: FolderStore, ledger: Ledger, releases: Releases, published: list[str]
) -> None:
    first, _second = history(ledger, published, order=[0, 1])
    forced = Draft(action="override", release=published[2], by="ada", reason="a test", expires="2026-12-01")
    third = ledger.append(forced, after=_second)
    last = ledger.append(draft(published[1], action="promote"), after=third)
    assert rollback_target(ledger, releases, to=None) == first
    with pytest.raises(Refused, match=r"^Entry 3 is an override: its release passed no gate"):
        rollback_target(ledger, releases, to=3)
    retire(store, SIGNER, published[0], by="ada", reason="erasure 1")
    left = rf"^No release of movielens is left to roll back to. Release {published[0][:12]} was retired"
    with pytest.raises(Refused, match=left):
        rollback_target(ledger, releases, to=None)
    target = rollback_target(ledger, releases, to=1)
    with pytest.raises(Refused, match="was retired"):
        go_live(ledger, releases, draft(target.release, action="rollback"), after=last, check=accept)
    assert ledger.head() == last


def test_by_default_nobody_goes_back_to_what_is_left_out(
    ledger: Ledger, releases: Releases, published: list[str]
) -> None:
    entries = history(ledger, published, order=[0, 1, 2])
    assert rollback_target(ledger, releases, to=None, leaving_out={published[1]}) == entries[0]
    assert rollback_target(ledger, releases, to=2, leaving_out={published[1]}) == entries[1]
    with pytest.raises(BadInput, match="No other release of movielens was ever live"):
        rollback_target(ledger, releases, to=None, leaving_out=set(published))
