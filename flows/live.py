"""One recommender as the commands see it: its ledger, its releases, its registry."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from infra.errors import BadInput, Refused
from infra.git import project_root
from infra.registry import Registry
from infra.settings import Settings
from infra.stores import ObjectStore, open_store
from lineage.ledger import Draft, Entry, Ledger, recommenders
from lineage.manifest import Manifest
from lineage.promotion import go_live, rollback_target
from lineage.releases import Releases
from tasks.params import load_params
from tasks.recommend import Bundle


@dataclass(frozen=True)
class Live:
    """The recommender called `name` in the release store of `settings`."""

    name: str
    settings: Settings
    store: ObjectStore

    @classmethod
    def open(cls, name: str | None) -> "Live":
        """The recommender called `name`; with no name, the one of `params.yaml`, else the only one there is.

        Raises:
            BadInput: there is none, or there are several to choose from.
        """
        settings = Settings()
        store = open_store(settings.store_url, settings)
        wanted = name or load_params(project_root() / "params.yaml").name
        known = recommenders(store)
        if not known:
            raise BadInput(f"Nothing is live in {settings.store_url}: no night has released. Run `nightreel retrain`.")
        if wanted is None and len(known) > 1:
            raise BadInput(f"Several recommenders are live: {', '.join(known)}. Choose one with --name.")
        if wanted is not None and wanted not in known:
            raise BadInput(f"No recommender {wanted} is live in {settings.store_url}; there is {', '.join(known)}.")
        return cls(wanted or known[0], settings, store)

    @cached_property
    def ledger(self) -> Ledger:
        """What went live, when, by whom and why."""
        return Ledger(self.store, self.name)

    @cached_property
    def releases(self) -> Releases:
        """The release store, with verified local copies under the home folder."""
        return Releases(self.store, self.settings.home_dir / "releases")

    @cached_property
    def registry(self) -> Registry:
        """The recommender in MLflow."""
        return Registry(self.settings, self.name)

    @property
    def head(self) -> Entry:
        """The live entry. Raises `BadInput` when there is none."""
        head = self.ledger.head()
        if head is None:
            raise BadInput(f"Nothing is live for {self.name}: no challenger has passed the gate yet.")
        return head

    def bundle(self) -> Bundle:
        """The live release, checked digest by digest."""
        release = self.head.release
        return Bundle(self.releases.open(release), self.releases.manifest(release).candidate)

    def release(self, prefix: str) -> tuple[list[Entry], Manifest]:
        """The release whose id starts with `prefix`, with the entries that made it live."""
        entries = [entry for entry in self.ledger.entries() if entry.release.startswith(prefix)]
        found = sorted({entry.release for entry in entries})
        if len(found) != 1:
            what = "Several releases" if found else "No release"
            raise BadInput(f"{what} in the ledger of {self.name} with an id that starts so. Received: {prefix!r}")
        return entries, self.releases.manifest(found[0])

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
        }

    def status(self) -> dict[str, Any]:
        """What is live, in a few fields."""
        head, manifest = self.head, self.releases.manifest(self.head.release)
        return {
            "recommender": self.name,
            "live release": head.release,
            "entry": head.seq,
            "action": head.action,
            "since": head.at,
            "by": head.by,
            "reason": head.reason,
            "candidate": manifest.candidate,
            "data until": manifest.as_of,
            "model version": head.model_version,
            "run": head.run,
            "store": self.settings.store_url,
        }

    def promote(self, version: str, *, reason: str) -> Entry:
        """Make the release of a model version that passed the gate live.

        Raises:
            BadInput: no such version.
            Refused: it did not pass, or is live already.
        """
        tags = self.registry.tags_of(version)
        if tags.get("nightreel.verdict") != "passed":
            verdict = tags.get("nightreel.verdict", "missing")
            raise Refused(f"Model version {version} of {self.name} cannot go live: its verdict is {verdict}.")
        if tags["nightreel.release"] == self.head.release:
            raise Refused(f"Model version {version} of {self.name} is live already, as entry {self.head.seq}.")
        return self._go_live(
            Draft(
                action="promote",
                release=tags["nightreel.release"],
                model_version=version,
                commit=tags["nightreel.commit"],
                by=self.settings.who,
                reason=reason,
            )
        )

    def rollback(self, to: int | None, *, reason: str) -> Entry:
        """Go back to the release of entry `to`, or to the one that was live before. Raises `BadInput` if none."""
        target = rollback_target(self.ledger, to=to)
        known = target.model_dump(include={"release", "model_version", "commit", "verdict"})
        return self._go_live(Draft(action="rollback", by=self.settings.who, reason=reason, **known))

    def _go_live(self, draft: Draft) -> Entry:
        candidate = self.releases.manifest(draft.release).candidate
        entry = go_live(
            self.ledger,
            self.releases,
            draft,
            after=self.ledger.head(),
            check=lambda folder: Bundle(folder, candidate).answer_somebody(),
        )
        self.registry.mirror_once("champion", entry.model_version, seq=entry.seq)
        return entry
