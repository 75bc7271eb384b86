"""Prove who asked for what to be forgotten or kept: the signatures of erasures, holds and retirements."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

from infra.errors import NightreelError
from infra.stores import Missing
from lineage.books import Books
from lineage.erasure import ERASURES, read_erasure
from lineage.holds import HOLDS, read_hold
from lineage.retirement import RETIRED_TYPE, key_of
from lineage.signing import Trust
from lineage.verify import Finding


def verify_erasures(books: Books) -> Iterator[Finding]:
    """Each erasure by its signature and its number; of those before the newest none may be missing."""
    yield from _numbered(books, f"{ERASURES}{books.name}/", read_erasure, kind="erasure")


def verify_holds(books: Books) -> Iterator[Finding]:
    """Each legal hold, and each lifting of one, likewise."""
    yield from _numbered(books, f"{HOLDS}{books.name}/", read_hold, kind="hold")


def _numbered(
    books: Books, folder: str, read: Callable[[str, bytes, Trust], object], *, kind: str
) -> Iterator[Finding]:
    proving = replace(books.trust, required=True)
    keys = list(books.store.keys(folder))
    for key in keys:
        try:
            read(key, books.store.get(key), proving)
        except NightreelError as error:
            yield Finding(kind=kind, what=key, fault=str(error))
    wanted = [f"{folder}{seq:08d}.json" for seq in range(1, len(keys) + 1)]
    for key in sorted(set(wanted) - set(keys)):
        yield Finding(kind=kind, what=key, fault="it is missing")


def verify_retirement(books: Books, release: str) -> Iterator[Finding]:
    """The retirement of a release by its signature, where it was retired."""
    key = key_of(release)
    try:
        payload, _ = books.trust.open(books.store.get(key), payload_type=RETIRED_TYPE, what=f"The retirement {key}")
    except Missing:
        return
    except NightreelError as error:
        yield Finding(kind="retirement", what=key, fault=str(error))
        return
    named = json.loads(payload).get("release")
    if named != release:
        yield Finding(kind="retirement", what=key, fault=f"it is that of release {named}")
