"""Removal of what DVC keeps: the objects of some nights, in the cache and in every remote that they were pushed to.

DVC itself only collects all that nothing names any more, which in a shared remote is other people's work.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from infra.dvc_objects import CACHE, FOLDER, OBJECTS, downloads, folder_lists, object_key, with_committed_remote
from infra.settings import Settings
from infra.stores import FolderStore, ObjectStore, open_store

RUN_CACHE = "runs/"
PARALLEL = 8
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where LibYAML is there


def outs_of(lock: str) -> dict[str, str]:
    """Path by MD5 of all that the stages of a `dvc.lock` wrote."""
    stages = (yaml.load(lock, Loader=LOADER) or {}).get("stages", {})
    return {out["md5"]: out["path"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}


@dataclass(frozen=True)
class DvcPlaces:
    """Where DVC keeps objects: `stores` by name, the cache first, then remotes by their URL; `cache` is its folder."""

    cache: Path
    stores: Mapping[str, ObjectStore]
    lists: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, configs: Iterable[str]) -> "DvcPlaces":
        """The cache and the remote of `settings`, and the remotes that `configs`, of the commits of runs, name."""
        cache = settings.home_dir / "cache"
        unset = settings.model_copy(update={"remote": None})
        reached = (settings, *(with_committed_remote(unset, config) for config in dict.fromkeys(configs)))
        remotes = {one.remote: one for one in reversed(reached) if one.remote}
        stores = {url: open_store(url, one) for url, one in remotes.items()}
        return cls(cache, {CACHE: FolderStore(cache), **stores})

    def expanded(self, outs: Mapping[str, str]) -> dict[str, str]:
        """`outs`, path by MD5, with the files of each folder that some place still has the list of."""
        folders = [md5 for md5 in outs if md5.endswith(FOLDER)]
        unread = [md5 for md5 in folders if md5 not in self.lists]
        with ThreadPoolExecutor(PARALLEL) as pool:
            self.lists.update(zip(unread, pool.map(self._listed, unread), strict=True))
        files = {md5: f"{outs[folder]}/{path}" for folder in folders for path, md5 in self.lists[folder].items()}
        return {**files, **outs}

    def fetch(self, md5: str, path: Path) -> Path | None:
        """Copy an object to `path` from the first place that has it; None when none has."""
        return next((path for _ in downloads(self.stores.items(), md5, path)), None)

    def present(self, md5s: Iterable[str]) -> dict[str, list[str]]:
        """Which of the objects each place has; files before the folders that list them, as `remove` wants them."""
        wanted = sorted(md5s, key=lambda md5: (md5.endswith(FOLDER), md5))
        there = {place: set(store.keys(OBJECTS)) for place, store in self.stores.items()}
        return {place: [md5 for md5 in wanted if object_key(md5) in keys] for place, keys in there.items()}

    def remove(self, place: str, md5s: Iterable[str]) -> None:
        """Remove objects from a place. Lists of folders go last, so that a removal that is killed can be taken up."""
        wanted = list(md5s)
        for kind in (False, True):
            with ThreadPoolExecutor(PARALLEL) as pool:
                keys = [object_key(md5) for md5 in wanted if md5.endswith(FOLDER) is kind]
                list(pool.map(self.stores[place].delete, keys))

    def forget(self, md5s: Iterable[str]) -> None:
        """Remove what DVC remembers of steps that made one of the objects, which it would look for in vain."""
        gone, store = set(md5s), self.stores[CACHE]
        for key in store.keys(RUN_CACHE):
            made = yaml.load(store.get(key), Loader=LOADER).get("outs", [])
            if any(out.get("md5") in gone for out in made):
                store.delete(key)

    def unclaimed(self, claimed: Iterable[str]) -> dict[str, Path]:
        """Objects in the cache, by MD5, that are not among `claimed`: what killed and discarded steps have left."""
        known = {object_key(md5) for md5 in claimed}
        keys = (key for key in self.stores[CACHE].keys(OBJECTS) if key not in known)
        return {key.removeprefix(OBJECTS).replace("/", ""): self.cache / key for key in keys}

    def _listed(self, md5: str) -> dict[str, str]:
        """MD5 by path of the files of a folder; nothing where no place has a list that fits its name."""
        lists = folder_lists(self.stores.items(), md5)
        return next((listed for listed in lists if listed is not None), {})
