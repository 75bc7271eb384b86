"""`audit erase`: record that a viewer is to be forgotten, keep the rows out from now on, and take away what is left."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.holdings import Holdings, find_holdings
from infra.checkout import empty_run
from infra.disk import disk_errors
from infra.dvc_removal import DvcPlaces
from infra.errors import BadInput, Refused
from infra.git import git, project_root
from infra.locks import locked
from infra.registry import Registry
from infra.settings import Settings
from infra.stores import open_store
from lineage.books import Books
from lineage.erasure import Erasure, Erasures, make_erasure_key
from lineage.holds import Hold, Holds, refuse_held
from lineage.ledger import recommenders
from lineage.retirement import retire
from tasks.arrivals import Arrivals
from tasks.erase_landed import origins_of, remove_leftovers, rewrite_landed
from tasks.landing import erased_viewers, landing_folder
from tasks.params import load_params


@dataclass(frozen=True)
class Eraser:
    """One viewer's erasure: of the recommender of `books`, in the checkout `root`."""

    books: Books
    registry: Registry
    user: str
    root: Path

    @classmethod
    def of(cls, name: str | None, user: str) -> "Eraser":
        """The viewer `user` of the recommender called `name`; with no name, of that of `params.yaml`, or the only one.

        Raises:
            BadInput: there are none or several to choose from.
        """
        settings, root = Settings(), project_root()
        params = load_params(root / "params.yaml")
        wanted = name or params.name or _only(settings)
        books = Books(settings, wanted, params.release.require_signature)
        return cls(books, Registry(settings, wanted), user, root)

    def erase(self, reason: str, *, apply: bool) -> dict[str, Any]:
        """Record the erasure, rewrite what landed, and say what still holds the viewer.

        Args:
            reason: why.
            apply: take all of that away before.

        Returns:
            `erasure`: the record; `holdings`: one row for each thing that still holds the viewer (`Holdings.rows`);
            `live`: the live release, when it does; `held`: legal holds on releases that do; `sources`: where the rows
            came from, which is not ours to change;
            `shared`: DVC objects that other recommenders need as well, by name; `applied`.

        Raises:
            Refused: `apply`, and the live release holds the viewer, or one on legal hold does; nothing has been taken
                away then.
        """
        erasure = self._record(reason)
        self._rewrite_landed()
        left, places = self._look()
        if apply:
            self._refuse_live(left.releases)
            refuse_held(self._held(left), what=f"The erasure of a viewer of {self.books.name}")
            self._remove(left, places, erasure)
            left, _ = self._look()
        arrivals = Arrivals(self._landing).all()
        return {
            "erasure": erasure.model_dump(),
            "applied": apply,
            "holdings": [row | {"remove": self._remove_by(left)} for row in left.rows()],
            "live": left.live,
            "held": [hold.model_dump() for hold in self._held(left).values()],
            "sources": origins_of(arrivals, erasure.seq),
            "shared": dict(left.shared),
        }

    def _remove_by(self, left: Holdings) -> str:
        apply = f"nightreel audit erase --user {self.user} --reason TEXT --apply"
        return f"nightreel retrain, then {apply}" if left.live else apply

    @property
    def _landing(self) -> Path:
        return landing_folder(self.books.settings, self.books.name)

    def _look(self) -> tuple[Holdings, DvcPlaces]:
        return find_holdings(self.books, self.registry, self.user, root=self.root)

    def _record(self, reason: str) -> Erasure:
        books = self.books
        return Erasures(books.store, books.name).record(
            self.user,
            key=make_erasure_key(books.settings),
            signer=books.signer,
            trust=books.trust,
            by=books.settings.who,
            reason=reason,
        )

    def _rewrite_landed(self) -> None:
        """What a landing would do first; without it the next night would start from a snapshot with the viewer."""
        arrivals = Arrivals(self._landing)
        if landed := arrivals.all():
            with locked(self._landing / "lock"):
                erased = erased_viewers(self.books.settings, self.books.name)
                rewrite_landed(arrivals, landed[0].source, erased)

    def _refuse_live(self, releases: Collection[str]) -> None:
        live = self.books.ledger.live()
        if live and live in releases:
            raise Refused(
                f"The live release {live[:12]} of {self.books.name} holds the viewer. Run `nightreel retrain`, whose "
                "release will not, and then this again."
            )

    def _held(self, left: Holdings) -> dict[str, Hold]:
        """Erasure gives way to a legal claim (GDPR, Article 17(3)(e)); whoever holds the release has to free it."""
        standing = Holds(self.books.store, self.books.name, self.books.trust).standing()
        return {release: standing[release] for release in left.releases if release in standing.keys() - left.retired}

    def _remove(self, left: Holdings, places: DvcPlaces, erasure: Erasure) -> None:
        """First nothing can be loaded any more; what tells which nights are meant goes last, the indexes at the end."""
        books = self.books
        for release in left.releases:
            retire(books.store, books.signer, release, by=books.settings.who, reason=f"erasure {erasure.seq}")
        self._refuse_live(left.releases)  # one may have gone live in the meantime
        for uri in left.artifacts:
            self.registry.delete_artifacts(uri)
        for key in left.blobs:
            books.store.delete(key)
        places.forget(left.made_as)
        places.remove(left.objects)
        self._remove_here(left)
        for key in left.indexes:
            books.store.delete(key)

    def _remove_here(self, left: Holdings) -> None:
        """Files on this machine. Whoever is at work on them is waited for."""
        home = self.books.settings.home_dir
        remove_leftovers(self._landing)
        with disk_errors(home):
            for file in left.unclaimed.values():
                file.unlink(missing_ok=True)
            for folder in left.folders:
                empty_run(folder)
            with locked(home / "releases/lock"):
                for copy in left.copies:
                    shutil.rmtree(copy)
        with locked(home / "git.lock"):
            git("worktree", "prune", at=self.root)


def _only(settings: Settings) -> str:
    known = recommenders(open_store(settings.store_url, settings))
    if len(known) != 1:
        raise BadInput(f"Say with --name whose viewer it is. Received: none, and there is {', '.join(known) or 'none'}")
    return known[0]
