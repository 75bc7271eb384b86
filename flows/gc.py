"""`nightreel gc`: keep the live release, the last ones and those on hold, with all that they need; the rest goes."""

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.excess import GONE, Excess, find_excess
from flows.live import Live
from infra.checkout import IN_USE, empty_run, is_at_work
from infra.disk import disk_errors
from infra.dvc_removal import DvcPlaces
from infra.git import git, project_root
from infra.locks import locked
from lineage.canonical import utc_now
from lineage.holding import holding
from lineage.lease import LEASES, Leases
from lineage.ledger import LEDGERS, Ledger
from lineage.retirement import retire

PARALLEL = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collector:
    """Retention for the recommender of `live`, whose runs' refs are in the checkout `root`, as things are at `now`."""

    live: Live
    root: Path
    now: datetime

    @classmethod
    def of(cls, name: str | None) -> "Collector":
        """That of the recommender called `name`; with no name, as `Live.open` finds it."""
        return cls(Live.open(name), project_root(), datetime.now(UTC))

    def collect(self, keep: int, *, apply: bool) -> dict[str, Any]:
        """Say what can go and what is kept, and why; remove it, where that is asked for.

        Args:
            keep: how many releases that were live are kept beside the live one.
            apply: remove what can go.

        Returns:
            `name`, `keep`, `applied`; `gone`: places with what goes (`Excess.rows`); `releases`: those that go; `kept`:
            releases with `why`, `as_of` and `bytes`; `at_work`: runs whose nights are at work, which are kept.

        Raises:
            Refused: `apply`, and a night or a command that changes what is live is at work on this machine; or what is
                needed cannot be told (`find_excess`). Nothing has been removed then.
        """
        if not apply:
            found, _ = self._look(keep)
            return self._told(found, keep, applied=False)
        # no night, here or elsewhere, may begin to look for what has just gone
        with locked(self._home / IN_USE, or_refuse=self._busy()), self._leases():
            found, places = self._look(keep)
            self._remove(found, places, keep)
        return self._told(found, keep, applied=True)

    @contextmanager
    def _leases(self) -> Iterator[None]:
        """Hold those of all recommenders of the store. Raises `Busy` while a run anywhere has one."""
        store, settings = self.live.books.store, self.live.settings
        names = {key.split("/")[1] for room in (LEDGERS, LEASES) for key in store.keys(room)}
        with ExitStack() as held:
            for leases in (Leases(store, name) for name in sorted(names)):
                above = Ledger(store, leases.name).newest_fence()
                held.enter_context(
                    holding(leases, "retention", settings, above=above, told=log.info, waits_for=lambda _: False)
                )
            yield

    @property
    def _home(self) -> Path:
        return self.live.settings.home_dir

    def _busy(self) -> str:
        runs = [lock.parent.name for lock in self._home.glob("runs/*/lock") if is_at_work(lock.parent)]
        who = f"The night {', '.join(runs)} is" if runs else "A night, a refresh, a search or a promotion is"
        return f"{who} at work, and may need what would go. Nothing has been removed. Run this again when it has ended."

    def _look(self, keep: int) -> tuple[Excess, DvcPlaces]:
        return find_excess(self.live.books, self.live.registry, root=self.root, keep=keep, now=self.now)

    def _told(self, found: Excess, keep: int, *, applied: bool) -> dict[str, Any]:
        return {
            "name": self.live.name,
            "keep": keep,
            "applied": applied,
            "gone": [row for row in found.rows() if row["count"]],
            "releases": list(found.releases),
            "kept": [self._kept(release, why) for release, why in found.kept.items()],
            "at_work": list(found.at_work),
        }

    def _kept(self, release: str, why: str) -> dict[str, Any]:
        manifest = self.live.releases.manifest(release)
        size = sum(part.bytes for part in manifest.parts.values())
        return {"release": release, "why": why, "as_of": manifest.as_of, "bytes": size}

    def _remove(self, found: Excess, places: DvcPlaces, keep: int) -> None:
        """First nothing can be loaded any more. Each later step finds by what is there what a killed one has left."""
        books, who = self.live.books, self.live.settings.who
        for release in found.releases:
            retire(books.store, books.signer, release, by=who, reason=f"nightreel gc --keep {keep}", kind="retention")
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(books.store.delete, found.blobs))
        places.forget(found.forget)
        places.remove(found.objects)
        self._remove_here(found)
        for one in found.logged:
            for uri in one.uris:
                one.registry.delete_artifacts(uri)
            one.registry.tag_version(one.version, {GONE: f"retention, {utc_now()} by {who}"})

    def _remove_here(self, found: Excess) -> None:
        with disk_errors(self._home):
            for folder in found.folders:
                empty_run(folder)
            with locked(self._home / "releases/lock"):
                for copy in found.copies:
                    shutil.rmtree(copy)
        with locked(self._home / "git.lock"):
            git("worktree", "prune", at=self.root)
