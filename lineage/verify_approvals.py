"""Prove who was asked for approval and what they answered."""

import re
from collections.abc import Iterator

from infra.errors import NightreelError
from lineage.approvals import APPROVALS, Approvals
from lineage.books import Books
from lineage.verify import Finding

NUMBERED = re.compile(r"(\d{8})\.(request|decision)\.json")


def verify_approvals(books: Books) -> Iterator[Finding]:
    """Each request and decision by its signature; no request may be missing, and no decision be about another one."""
    folder, approvals = f"{APPROVALS}{books.name}/", Approvals(books)
    found = {key: NUMBERED.fullmatch(key.removeprefix(folder)) for key in books.store.keys(folder)}
    for key, name in found.items():
        if name is None:
            yield Finding(kind="approval", what=key, fault="it is neither a request nor a decision")
    numbers = {int(name[1]) for name in found.values() if name}
    for seq in sorted(numbers | set(range(1, len(numbers) + 1))):  # a made-up number makes no long search
        try:
            approvals.decision(approvals.get(seq))
        except NightreelError as error:
            yield Finding(kind="approval", what=f"{folder}{seq:08d}", fault=str(error))
