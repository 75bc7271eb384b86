"""The ledger's promises on a folder and on a real S3 server."""

import hashlib
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import BadInput
from infra.settings import Settings
from infra.stores import FolderStore, open_store
from lineage.canonical import canonical
from lineage.ledger import BrokenChain, Draft, Entry, Ledger, LostRace
from lineage.signing import Signer, Trust, Untrusted
from tests.lineage.test_signing import OTHER, SIGNER, TRUST

spawn = multiprocessing.get_context("spawn")


def draft(number: int, *, run: str | None = "nights", by: str = "night") -> Draft:
    release = hashlib.sha256(f"{number}".encode()).hexdigest()
    return Draft(action="release", release=release, run=run and f"{run}-{number}", by=by, reason="passed the gate")


def grow(ledger: Ledger, count: int) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(count):
        entries.append(ledger.append(draft(number), after=entries[-1] if entries else None))
    return entries


@pytest.fixture
def ledger(store_url: str) -> Ledger:
    return Ledger(open_store(store_url, Settings()), "movielens")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the ledger files of six entries."""
    grow(Ledger(FolderStore(tmp_path), "movielens"), 6)
    return tmp_path / "ledgers" / "movielens"


def on(folder: Path) -> Ledger:
    return Ledger(FolderStore(folder.parent.parent), "movielens")


def test_empty_ledger_has_nothing_live(ledger: Ledger) -> None:
    assert (ledger.head(), ledger.live(), list(ledger.entries())) == (None, None, [])
    with pytest.raises(BadInput, match=r"^The ledger of movielens has no such entry\. Received: 1$"):
        ledger.get(1)


def test_entries_are_numbered_chained_and_read_back(ledger: Ledger) -> None:
    first, second, third = grow(ledger, 3)
    assert [first.seq, second.seq, third.seq] == [1, 2, 3]
    assert first.previous is None
    assert second.previous == hashlib.sha256(first.encoded()).hexdigest()
    assert third.previous == hashlib.sha256(second.encoded()).hexdigest()
    assert list(ledger.entries()) == [first, second, third]
    assert (ledger.head(), ledger.live(), ledger.get(2)) == (third, draft(2).release, second)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17])
def test_head_is_the_last_of_any_number_of_entries(tmp_path: Path, count: int) -> None:
    ledger = Ledger(FolderStore(tmp_path), "movielens")
    last = grow(ledger, count)[-1]
    assert last.seq == count
    assert ledger.head() == last


def test_entry_stands_under_its_number_as_canonical_json(tmp_path: Path) -> None:
    entry = Ledger(FolderStore(tmp_path), "movielens").append(draft(7), after=None)
    written = (tmp_path / "ledgers/movielens/00000001.json").read_bytes()
    assert json.loads(written) == {
        "action": "release",
        "at": entry.at,
        "by": "night",
        "commit": None,
        "expires": None,
        "model_version": None,
        "previous": None,
        "reason": "passed the gate",
        "release": "7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451",
        "run": "nights-7",
        "seq": 1,
        "signature": None,
        "verdict": None,
    }
    assert written == canonical(json.loads(written))


def test_recommenders_in_one_store_have_their_own_ledgers(store_url: str) -> None:
    store = open_store(store_url, Settings())
    one, two = Ledger(store, "movielens"), Ledger(store, "movielens-2")
    grow(one, 2)
    grow(two, 1)
    assert [len(list(each.entries())) for each in (one, two)] == [2, 1]


hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(
    action=st.sampled_from(["release", "promote", "rollback"]),
    release=hexadecimal,
    verdict=st.none() | hexadecimal,
    run=st.none() | st.text(),
    commit=st.none() | st.text("0123456789abcdef", min_size=40, max_size=40),
    words=st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=2),
)
def test_any_draft_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], **fields: str | None
) -> None:
    ledger = Ledger(FolderStore(tmp_path_factory.mktemp("store")), "movielens")
    wanted = Draft.model_validate(fields | {"by": words[0], "reason": words[1]})
    ledger.append(wanted, after=None)
    head = ledger.head()
    assert head is not None
    assert Draft(**{name: getattr(head, name) for name in Draft.model_fields}) == wanted


def test_an_append_after_a_stale_entry_loses_and_says_to_whom(ledger: Ledger) -> None:
    first, second = grow(ledger, 2)
    with pytest.raises(LostRace, match=r"^Entry 2 of the ledger of movielens is already taken by night, who made .*"):
        ledger.append(draft(9), after=first)
    with pytest.raises(LostRace, match=r"^Entry 1 "):
        ledger.append(draft(9), after=None)
    assert ledger.head() == second


def test_the_same_append_again_is_found(ledger: Ledger) -> None:
    first, second = grow(ledger, 2)
    assert ledger.append(draft(1), after=first) == second  # killed between write and answer
    assert ledger.append(draft(1), after=second) == second  # read the head anew, then tried again
    assert list(ledger.entries()) == [first, second]


def test_an_append_found_again_after_a_rollback_does_not_undo_the_rollback(ledger: Ledger) -> None:
    first, second = grow(ledger, 2)
    back = Draft(action="rollback", release=first.release, by="ada", reason="complaints")
    third = ledger.append(back, after=second)
    assert ledger.append(draft(1), after=first) == second
    assert ledger.head() == third


def test_the_same_release_by_another_run_or_person_is_another_append(ledger: Ledger) -> None:
    first = ledger.append(draft(1), after=None)
    second = ledger.append(draft(1, run="again"), after=first)
    third = ledger.append(draft(1, run="again", by="ada"), after=second)
    assert [entry.seq for entry in ledger.entries()] == [1, 2, 3]
    assert third.release == first.release


def test_an_append_without_a_reason_is_bad_input(ledger: Ledger) -> None:
    with pytest.raises(BadInput, match="gives a reason"):
        ledger.append(draft(1).model_copy(update={"reason": " "}), after=None)
    assert ledger.head() is None


def compete(store_url: str, writer: int, count: int, start: Barrier) -> None:
    ledger = Ledger(open_store(store_url, Settings()), "movielens")
    start.wait()
    for number in range(count):
        while True:
            try:
                ledger.append(draft(number, run=f"run-{writer}", by=f"writer {writer}"), after=ledger.head())
                break
            except LostRace:
                continue


def test_eight_racing_writers_leave_one_unbroken_chain_and_lose_no_entry(ledger: Ledger, store_url: str) -> None:
    start = spawn.Barrier(8)
    writers = [spawn.Process(target=compete, args=(store_url, writer, 4, start)) for writer in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    entries = list(ledger.entries())
    assert [entry.seq for entry in entries] == list(range(1, 33))
    wanted = [f"run-{writer}-{number}" for writer in range(8) for number in range(4)]
    assert sorted(str(entry.run) for entry in entries) == sorted(wanted)
    for writer in range(8):  # each writer's own entries stand in its own order
        assert [e.run for e in entries if e.by == f"writer {writer}"] == [f"run-{writer}-{n}" for n in range(4)]


def append_forever(store_url: str, run: str) -> None:
    ledger = Ledger(open_store(store_url, Settings()), "movielens")
    number = 0
    while True:
        # the last entry of one that was killed may still be on its way to the server
        with suppress(LostRace):
            ledger.append(draft(number, run=run), after=ledger.head())
            number += 1


def test_sigkill_leaves_no_torn_entry_and_the_next_writer_goes_on(ledger: Ledger, store_url: str) -> None:
    before = 0
    for round_ in range(6):
        writer = spawn.Process(target=append_forever, args=(store_url, f"round {round_}"))
        writer.start()
        while not (head := ledger.head()) or head.run is None or not head.run.startswith(f"round {round_}"):
            assert writer.is_alive()
            time.sleep(0.005)
        time.sleep(0.007 * round_)
        writer.kill()
        writer.join()
        entries = list(ledger.entries())
        late, ours = f"round {round_ - 1}", f"round {round_}"
        runs = [str(entry.run).rpartition("-")[0] for entry in entries[before:]]
        on_its_way = store_url.startswith("s3://") and runs[0] == late  # of the one that was killed before
        assert runs[on_its_way:] == [ours] * (len(runs) - on_its_way)
        before = len(entries)


def test_flipped_byte_is_named(folder: Path) -> None:
    third = folder / "00000003.json"
    third.write_bytes(third.read_bytes().replace(b"passed", b"qassed"))
    with pytest.raises(BrokenChain, match=r"^Entry 4 .* written after another entry 3 than the one that is there"):
        list(on(folder).entries())
    assert [entry.seq for entry in list_until_broken(on(folder))] == [1, 2, 3]


def list_until_broken(ledger: Ledger) -> Iterator[Entry]:
    try:
        yield from ledger.entries()
    except BrokenChain:
        return


def test_flipped_byte_before_the_newest_entry_stops_the_head(folder: Path) -> None:
    fifth = folder / "00000005.json"
    fifth.write_bytes(fifth.read_bytes().replace(b"passed", b"qassed"))
    with pytest.raises(BrokenChain, match=r"^Entry 6 .* another entry 5"):
        on(folder).head()


@pytest.mark.parametrize("torn", [b"", b'{"seq":3', b"\xff\xfe", b"[]", b'{"seq":3,"new":1}'])
def test_unreadable_entry_is_named(folder: Path, torn: bytes) -> None:
    (folder / "00000003.json").write_bytes(torn)
    with pytest.raises(BrokenChain, match=r"^Entry 3 of the ledger of movielens cannot be read: "):
        list(on(folder).entries())
    with pytest.raises(BrokenChain, match=r"^Entry 3 "):
        on(folder).get(3)


@pytest.mark.parametrize("dropped", [1, 2, 3, 4, 5])
def test_dropped_entry_is_named_and_does_not_move_the_head_back(folder: Path, dropped: int) -> None:
    head = on(folder).head()
    (folder / f"{dropped:08d}.json").unlink()
    with pytest.raises(BrokenChain, match=rf"^Entry {dropped} of the ledger of movielens is missing, although"):
        list(on(folder).entries())
    try:
        assert on(folder).head() == head
    except BrokenChain as broken:
        assert str(broken).startswith(f"Entry {dropped} ")  # noqa: PT017


def test_swapped_entries_are_named(folder: Path) -> None:
    third, fourth = folder / "00000003.json", folder / "00000004.json"
    one, other = third.read_bytes(), fourth.read_bytes()
    third.write_bytes(other)
    fourth.write_bytes(one)
    with pytest.raises(BrokenChain, match=r"^Entry 3 of the ledger of movielens says that it is entry 4\.$"):
        list(on(folder).entries())


def test_an_append_after_an_entry_that_was_changed_since_is_refused(folder: Path) -> None:
    head = on(folder).head()
    sixth = folder / "00000006.json"
    sixth.write_bytes(sixth.read_bytes().replace(b"passed", b"qassed"))
    with pytest.raises(BrokenChain, match=r"^Entry 6 of the ledger of movielens is not the one that was read before"):
        on(folder).append(draft(9), after=head)
    assert len(list(folder.iterdir())) == 6


def test_foreign_files_in_the_folder_are_ignored(folder: Path) -> None:
    head = on(folder).head()
    for name in ("00000009.json~", "notes.txt", ".00000007.json.swp"):
        (folder / name).write_bytes(b"torn")
    assert on(folder).head() == head
    assert len(list(on(folder).entries())) == 6


class Counting(FolderStore):
    """A folder that counts what is asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gets = self.looks = self.listings = 0

    def get(self, key: str) -> bytes:
        self.gets += 1
        return super().get(key)

    def exists(self, key: str) -> bool:
        self.looks += 1
        return super().exists(key)

    def keys(self, prefix: str, *, after: str = "") -> Iterator[str]:
        self.listings += 1
        return super().keys(prefix, after=after)


def test_head_of_ten_thousand_entries_reads_two(tmp_path: Path) -> None:
    folder = tmp_path / "ledgers" / "movielens"
    folder.mkdir(parents=True)
    entry = Entry(**dict(draft(0)), seq=1, previous=None, at="2026-01-01T00:00:00.000000Z")
    for seq in range(1, 10_001):
        data = entry.encoded()
        (folder / f"{seq:08d}.json").write_bytes(data)
        entry = entry.model_copy(update={"seq": seq + 1, "previous": hashlib.sha256(data).hexdigest()})
    store = Counting(tmp_path)
    head = Ledger(store, "movielens").head()
    assert head is not None
    assert head.seq == 10_000
    assert (store.gets, store.listings) == (2, 1)
    assert store.looks <= 28


def signed(folder: Path, *, trust: Trust = TRUST, signer: Signer = SIGNER) -> Ledger:
    return Ledger(FolderStore(folder), "movielens", signer=lambda: signer, trust=trust)


def test_entries_are_signed_and_the_newest_is_checked(tmp_path: Path) -> None:
    ledger = signed(tmp_path)
    entries = grow(ledger, 2)
    assert ledger.head() == entries[1]
    assert [ledger.check_signature(entry, TRUST) for entry in ledger.entries()] == [SIGNER.keyid] * 2


def test_an_unsigned_or_foreign_newest_entry_is_refused_where_signatures_are_required(tmp_path: Path) -> None:
    grow(signed(tmp_path / "foreign", signer=OTHER), 1)
    grow(Ledger(FolderStore(tmp_path / "unsigned"), "movielens"), 1)
    with pytest.raises(Untrusted, match=r"^Entry 1 .* is signed by the key .* not trusted here"):
        signed(tmp_path / "foreign").head()
    with pytest.raises(Untrusted, match=r"^Entry 1 of the ledger of movielens carries no signature\.$"):
        signed(tmp_path / "unsigned").head()
    for name in ("foreign", "unsigned"):
        assert signed(tmp_path / name, trust=Trust(TRUST.keys, required=False)).head() is not None


def test_an_entry_that_was_signed_for_another_place_is_refused(tmp_path: Path) -> None:
    ledger = signed(tmp_path)
    first, second = grow(ledger, 2)
    forged = second.model_copy(update={"release": first.release})
    (tmp_path / "ledgers/movielens/00000002.json").write_bytes(forged.encoded())
    with pytest.raises(Untrusted, match="does not fit its content"):
        ledger.head()


def test_only_an_override_has_a_day_on_which_it_expires() -> None:
    facts = draft(1).model_dump() | {"action": "override", "expires": "2026-12-01"}
    override = Entry.model_validate(facts | {"seq": 1, "previous": None, "at": "2026-11-22T00:00:00.000000Z"})
    assert [override.lapsed(date(2026, 12, day)) for day in (1, 2)] == [False, True]
    for wrong in ({"action": "override", "expires": None}, {"action": "promote"}):
        with pytest.raises(ValueError, match="an override has a day on which it expires"):
            Draft.model_validate(facts | wrong)


def test_an_examination_goes_on_behind_a_broken_entry(folder: Path) -> None:
    (folder / "00000002.json").unlink()
    (folder / "00000004.json").write_bytes(b"{}")
    found = dict(on(folder).examined())
    assert [seq for seq, entry in found.items() if isinstance(entry, Entry)] == [1, 6]
    assert str(found[2]) == "Entry 2 of the ledger of movielens is missing, although later ones exist."
    assert [type(found[seq]) for seq in (3, 4, 5)] == [BrokenChain] * 3


def test_entries_without_evidence_keep_the_bytes_from_before_there_was_any() -> None:
    fields = {"action": "rollback", "release": "a" * 64, "by": "ada", "reason": "r", "seq": 1, "previous": None}
    told = {"model_version": None, "verdict": None, "run": None, "commit": None, "expires": None, "signature": None}
    at = "2026-11-01T00:00:00.000000Z"
    entry = Entry.model_validate(fields | {"at": at})
    assert entry.encoded() == canonical(fields | told | {"at": at})
    resting = Entry.model_validate(fields | {"at": at, "evidence": "b" * 64})
    assert resting.encoded() == canonical(fields | told | {"at": at, "evidence": "b" * 64})
    assert Entry.model_validate_json(resting.encoded()) == resting
    with pytest.raises(ValueError, match="a rollback rests on evidence, and nothing else does"):
        draft(1).model_validate(draft(1).model_dump() | {"evidence": "b" * 64})
