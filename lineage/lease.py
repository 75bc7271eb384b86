"""The lease of a recommender: one run at a time makes up its mind about what is live, and a token says in what order.

Each state of the lease of `movielens` has the next number, stands under `leases/movielens/00000042.json`, and is
written by put-if-absent, so that taking over and renewing race for one name and one of them wins. A holder's token is
the number that it began with: whoever comes later has a higher one. A state goes once its successor is there; the
newest never does, so numbers only grow. (Fencing tokens: Kleppmann, "How to do distributed locking", 2016.)
"""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import Refused
from infra.stores import Missing, ObjectStore
from lineage.canonical import canonical, utc_now
from lineage.moments import minute

LEASES = "leases/"


class LostLease(Refused):
    """Another run was given the lease meanwhile, so nothing of this one goes live."""


class Lease(BaseModel):
    """One state of a lease.

    Attributes:
        seq: its number, from 1.
        token: the number of the state with which its holder began.
        held: False once the holder gave it back.
        holder: who, in words.
        lock: name of a lock that the holder's own machine can ask the kernel for, which knows of a death at once.
        work: what it is held for, in words; equal words, equal work.
        at: when this state was written, by the holder's clock, UTC, ISO 8601. People read it; nothing compares it.
        seconds: without a newer state for so long, others may take over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seq: Annotated[int, Field(ge=1)]
    token: Annotated[int, Field(ge=1)]
    held: bool
    holder: str
    lock: str
    work: str
    at: str
    seconds: Annotated[float, Field(gt=0)]

    def described(self) -> str:
        """Who holds it, for what and until when."""
        until = datetime.fromisoformat(self.at) + timedelta(seconds=self.seconds)
        return f"{self.holder}, for {self.work}, until {minute(until.isoformat())} UTC or longer (token {self.token})"


class Leases:
    """The lease of the recommender `name` in `store`."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self.name = name
        self._store = store

    def newest(self) -> Lease | None:
        """The state that counts; None when nobody ever held the lease."""
        while keys := list(self._store.keys(self._folder)):
            try:
                return Lease.model_validate_json(self._store.get(keys[-1]))
            except Missing:  # its successor came between the two questions
                continue
        return None

    def claim(
        self, after: Lease | None, *, holder: str, lock: str, work: str, seconds: float, above: int = 0
    ) -> Lease | None:
        """Take the lease over from `after`, which the caller knows to have ended; None when another was faster.

        Args:
            after: the newest state, None for none.
            holder, lock, work, seconds: see `Lease`.
            above: the token will be higher than this, which the ledger may know of when the states were lost.
        """
        seq = max(after.seq if after else 0, above) + 1
        mine = Lease(seq=seq, token=seq, held=True, holder=holder, lock=lock, work=work, at=utc_now(), seconds=seconds)
        return self._tidied(mine) if self._put(mine) else None

    def renew(self, mine: Lease) -> Lease:
        """Say that the holder is alive; the new state. Raises `LostLease` when another has taken over."""
        return self._succeeded(mine, held=True)

    def end(self, mine: Lease) -> None:
        """Give the lease back. Raises `LostLease` when another has taken over."""
        self._succeeded(mine, held=False)

    def check(self, token: int) -> None:
        """Raise `LostLease` when another has come after the holder of `token`."""
        newest = self.newest()
        if newest and newest.token > token:
            raise self._lost(token, newest)

    def _succeeded(self, mine: Lease, *, held: bool) -> Lease:
        after = mine.model_copy(update={"seq": mine.seq + 1, "held": held, "at": utc_now()})
        self._put(after)
        newest = self.newest() or after  # rather than the put's answer: an earlier try of ours may have come through
        if newest.token > mine.token:
            raise self._lost(mine.token, newest)
        return self._tidied(newest)

    def _lost(self, token: int, newest: Lease) -> LostLease:
        return LostLease(
            f"This run may not change what is live of {self.name} any more: its lease (token {token}) had ended, and "
            f"{newest.holder} was given the next one (token {newest.token}), for {newest.work}. Run it again: what "
            "it finished is found."
        )

    def _tidied(self, newest: Lease) -> Lease:
        for key in self._store.keys(self._folder):
            if key < self._key(newest.seq):
                self._store.delete(key)
        return newest

    def _put(self, state: Lease) -> bool:
        """Write `state` unless its number is taken, or was: who was stopped may come with one that is long gone."""
        key = self._key(state.seq)
        if not self._store.put_if_absent(key, canonical(state.model_dump())):
            return False
        late = next(self._store.keys(self._folder, after=key), None) is not None
        if late:
            self._store.delete(key)
        return not late

    def _key(self, seq: int) -> str:
        return f"{self._folder}{seq:08d}.json"

    @property
    def _folder(self) -> str:
        return f"{LEASES}{self.name}/"
