"""A chain that was cut off or rewritten is noticed by whoever saw it before."""

from pathlib import Path

import pytest

from infra.stores import FolderStore
from lineage.ledger import BrokenChain, Ledger
from lineage.witness import Rewritten, Seen, Witness
from tests.lineage.test_ledger import draft


def watched(folder: Path) -> Ledger:
    return Ledger(FolderStore(folder / "store"), "movielens", witness=Witness(folder / "witness"))


def grown(folder: Path, count: int) -> Path:
    """A ledger of `count` entries that was looked at; the folder of its entries."""
    ledger = watched(folder)
    entry = None
    for number in range(count):
        entry = ledger.append(draft(number), after=entry)
    assert ledger.proven_head() == entry
    return folder / "store/ledgers/movielens"


def test_the_newest_entry_is_noted_and_a_longer_chain_is_welcome(tmp_path: Path) -> None:
    grown(tmp_path, 2)
    assert (Witness(tmp_path / "witness").seen("movielens") or Seen(seq=9, sha256="0" * 64)).seq == 2
    ledger = Ledger(FolderStore(tmp_path / "store"), "movielens")
    third = ledger.append(draft(2), after=ledger.head())
    assert watched(tmp_path).proven_head() == third
    assert [path.name for path in (tmp_path / "witness").iterdir()] == ["movielens"]


def test_a_newest_entry_that_was_removed_is_noticed(tmp_path: Path) -> None:
    entries = grown(tmp_path, 3)
    (entries / "00000003.json").unlink()
    assert Ledger(FolderStore(tmp_path / "store"), "movielens").head() is not None  # the chain itself cannot show it
    with pytest.raises(Rewritten, match="ends with entry 2, although this machine has seen entry 3"):
        watched(tmp_path).head()


def test_a_whole_other_chain_is_noticed(tmp_path: Path) -> None:
    entries = grown(tmp_path, 2)
    for entry in entries.iterdir():
        entry.unlink()
    ledger = Ledger(FolderStore(tmp_path / "store"), "movielens")
    ledger.append(draft(8), after=ledger.append(draft(7), after=None))
    with pytest.raises(Rewritten, match=r"^Entry 2 .* is not the one that was seen there before"):
        watched(tmp_path).head()


def test_an_empty_ledger_is_nothing_to_note(tmp_path: Path) -> None:
    assert watched(tmp_path).proven_head() is None
    assert not (tmp_path / "witness").exists()


def test_a_broken_link_is_found_by_a_machine_that_has_not_proven_it_before(tmp_path: Path) -> None:
    entries = grown(tmp_path, 6)
    (entries / "00000002.json").write_bytes((entries / "00000003.json").read_bytes())
    unknowing = Ledger(FolderStore(tmp_path / "store"), "movielens", witness=Witness(tmp_path / "other"))
    assert unknowing.head() is not None  # it links to the entry before it
    with pytest.raises(BrokenChain, match="Entry 2 of the ledger of movielens says that it is entry 3"):
        unknowing.proven_head()
    assert not (tmp_path / "other").exists()
    assert watched(tmp_path).proven_head() is not None


class Overtaken(Witness):
    """Each time it is read, another writer appends and proves just before that."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "witness")
        self.at = folder

    def seen(self, name: str) -> Seen | None:
        other = watched(self.at)
        head = other.head()
        other.append(draft(head.seq if head else 0), after=head)
        other.proven_head()
        return super().seen(name)


@pytest.mark.parametrize("grown_to", [0, 3])
def test_who_is_overtaken_by_another_writer_takes_that_for_no_rewriting(tmp_path: Path, grown_to: int) -> None:
    grown(tmp_path, grown_to)
    late = Ledger(FolderStore(tmp_path / "store"), "movielens", witness=Overtaken(tmp_path))
    head = late.head()
    assert head is not None
    assert head.seq == grown_to + 1
    proven = late.proven_head()
    assert proven is not None
    assert proven.seq == grown_to + 2
    assert watched(tmp_path).proven_head() is not None  # what was noted meanwhile holds
