"""One recommender as the commands see it: its ledger, its releases, its registry."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.going_live import make_live
from infra.errors import BadInput, Refused
from infra.git import project_root
from infra.registry import Registry
from infra.settings import Settings, settings_at
from infra.stores import open_store
from lineage.approvals import Approvals, asking
from lineage.attestation import check_attestation
from lineage.books import Books
from lineage.holds import Holds
from lineage.ledger import Draft, Entry, Ledger, recommenders
from lineage.manifest import Manifest
from lineage.prefix import release_by_prefix
from lineage.promotion import rollback_target
from lineage.recorded import made_by, trained_release
from lineage.releases import Releases
from lineage.retirement import retired
from lineage.runs import records
from tasks.params import Gate, load_params
from tasks.recommend import Bundle


@dataclass(frozen=True)
class Live:
    """The recommender whose books these are, as the commands see it. `gate`: who may approve in MLflow, and how."""

    books: Books
    gate: Gate

    @classmethod
    def open(cls, name: str | None, root: Path | None = None) -> "Live":
        """The recommender called `name`; with no name, the one of `params.yaml`, else the only one there is.

        Args:
            name: of the recommender.
            root: the checkout; None: the one around the working directory.

        Raises:
            BadInput: there is none, or there are several to choose from.
        """
        settings, params = settings_at(root), load_params(project_root(root) / "params.yaml")
        wanted = name or params.name
        known = _known(settings)
        if not known:
            raise BadInput(f"Nothing is live in {settings.store_url}: no night has released. Run `nightreel retrain`.")
        if wanted is None and len(known) > 1:
            raise BadInput(f"Several recommenders are live: {', '.join(known)}. Choose one with --name.")
        if wanted is not None and wanted not in known:
            raise BadInput(f"No recommender {wanted} is live in {settings.store_url}; there is {', '.join(known)}.")
        return cls(Books(settings, wanted or known[0], params.release.require_signature), params.gate)

    @classmethod
    def every(cls, root: Path) -> "list[Live]":
        """Each recommender of the store of the checkout `root` that is live or waits for a person; may be none."""
        settings, params = settings_at(root), load_params(project_root(root) / "params.yaml")
        names = _known(settings)
        return [cls(Books(settings, name, params.release.require_signature), params.gate) for name in names]

    @property
    def name(self) -> str:
        """The recommender."""
        return self.books.name

    @property
    def settings(self) -> Settings:
        """Where everything lies."""
        return self.books.settings

    @property
    def ledger(self) -> Ledger:
        """What went live, when, by whom and why."""
        return self.books.ledger

    @property
    def releases(self) -> Releases:
        """The release store."""
        return self.books.releases

    @property
    def holds(self) -> Holds:
        """Which releases must be kept."""
        return Holds(self.books.store, self.name, self.books.trust)

    @cached_property
    def approvals(self) -> Approvals:
        """What waited for a person, and what was decided."""
        return Approvals(self.books)

    @cached_property
    def registry(self) -> Registry:
        """The recommender in MLflow."""
        return Registry(self.settings, self.name)

    @property
    def head(self) -> Entry:
        """The live entry. Raises `BadInput` when there is none."""
        return self._there(self.ledger.head())

    def bundle(self) -> tuple[Entry, Bundle]:
        """The live entry, its ledger proven link by link, and its release, checked digest by digest."""
        head = self._there(self.ledger.proven_head())
        return head, Bundle(self.releases.open(head.release), self.releases.manifest(head.release).candidate)

    def release(self, prefix: str) -> tuple[list[Entry], Manifest]:
        """The release whose id starts with `prefix`, with the entries that made it live."""
        entries = list(self.ledger.entries())
        known = (entry.release for entry in entries)
        found = release_by_prefix(prefix, known, where=f"in the ledger of {self.name}")
        return [entry for entry in entries if entry.release == found], self.releases.manifest(found)

    def known(self, prefix: str) -> str:
        """The release whose id starts with `prefix`, live once or not. Raises `BadInput` for none or several."""
        entered = [entry.release for entry in self.ledger.entries()]
        made = (record.release for record in records(self.books.store, self.name) if record.release)
        return release_by_prefix(prefix, (*entered, *made), where=f"of {self.name}")

    def entered(self) -> list[dict[str, Any]]:
        """Every ledger entry, and how its release `ended`, in a few words, where it did."""
        entries = list(self.ledger.entries())
        ended = retired(self.books.store) & {entry.release for entry in entries}
        how = {release: gone.state for release in ended if (gone := self.releases.retirement(release))}
        return [entry.model_dump() | {"ended": how.get(entry.release)} for entry in entries]

    def describe(self, prefix: str) -> dict[str, Any]:
        """A release for the screen: manifest, when it was live, its verdict's checks."""
        entries, manifest = self.release(prefix)
        folder = self.releases.open(entries[0].release)
        return {
            "release": entries[0].release,
            "entries": [entry.model_dump() for entry in entries],
            "live": self.head.release == entries[0].release,
            "manifest": manifest.model_dump(),
            "verdict": json.loads((folder / "record/verdict.json").read_text(encoding="utf-8")),
            "signature": self.signature(manifest.release),
        }

    def signature(self, release: str) -> str:
        """By whose key a release is attested, in words, or why that is not to be trusted."""
        if ended := self.releases.retirement(release):
            return ended.word
        try:
            _, keyid = check_attestation(self.books.store, self.books.trust, self.releases.manifest(release))
        except Refused as error:
            return f"NOT TRUSTED: {error}"
        return self.books.trust.described(keyid)

    def signed(self, entry: Entry) -> dict[str, Any]:
        """An entry's fields, its signature in words."""
        keyid = self.ledger.check_signature(entry, self.books.trust)
        return entry.model_dump(exclude={"signature"}) | {"signature": self.books.trust.described(keyid)}

    def verdict(self, release: str) -> str:
        """Whether `release` passed the gate, by its own record, which nobody can change in MLflow."""
        record = self.releases.open(release) / "record/verdict.json"
        return "passed" if json.loads(record.read_text(encoding="utf-8"))["passed"] else "refused"

    def promote(self, version: str, *, reason: str, override_until: date | None = None, by: str | None = None) -> Entry:
        """Make the release of a model version live.

        Args:
            version: MLflow's number of it.
            reason: why.
            by: who wants it; none means whoever runs this.
            override_until: given, a version that did not pass the gate goes live all the same, and every night after
                this day says so until a passing release replaces it.

        Raises:
            BadInput: no such version, or an override that is over or not needed.
            Refused: it did not pass, or is live already.
        """
        tags = self.registry.tags_of(version)
        verdict = self.verdict(tags["nightreel.release"]) if "nightreel.release" in tags else "missing"
        if override_until is None and verdict != "passed":
            raise Refused(
                f"Model version {version} of {self.name} cannot go live: its verdict is {verdict}. Past the gate leads "
                "only `--override --expires DATE`."
            )
        if override_until is not None:
            _refuse_needless(version, verdict, override_until)
        head = self.head
        if tags["nightreel.release"] == trained_release(head.release, self.books):
            raise Refused(f"Model version {version} of {self.name} is live already, as entry {head.seq}.")
        return self._go_live(
            Draft(
                action="override" if override_until else "promote",
                expires=override_until.isoformat() if override_until else None,
                release=tags["nightreel.release"],
                model_version=version,
                commit=made_by(tags["nightreel.release"], self.books)[1],
                by=by or self.settings.who,
                reason=reason,
            )
        )

    def rollback(self, to: int | None, *, reason: str) -> Entry:
        """Go back to the release of entry `to`, or to the one that was live before. Raises `BadInput` if none."""
        target = rollback_target(self.ledger, self.releases, to=to)
        known = target.model_dump(include={"release", "model_version", "commit", "verdict"})
        return self._go_live(Draft(action="rollback", by=self.settings.who, reason=reason, **known))

    def _there(self, head: Entry | None) -> Entry:
        if head is None:
            raise BadInput(f"Nothing is live for {self.name}: no challenger has passed the gate yet.")
        return head

    def _go_live(self, draft: Draft) -> Entry:
        return make_live(draft, self.books, self.registry, after=self.ledger.head())


def _known(settings: Settings) -> list[str]:
    store = open_store(settings.store_url, settings)
    return sorted({*recommenders(store), *asking(store)})


def _refuse_needless(version: str, verdict: str, until: date) -> None:
    if verdict == "passed":
        raise BadInput(f"Model version {version} passed the gate, so it needs no --override.")
    if until < datetime.now(UTC).date():
        raise BadInput(f"--expires must not lie in the past. Received: {until}")
