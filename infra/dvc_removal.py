"""Removal of what DVC keeps: the objects of some nights, in the cache and in every remote that they were pushed to.

DVC itself only collects all that nothing names any more, which in a shared remote is other people's work.
"""

from collections.abc import Iterable, Mapping, Sequence
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


def _parted(md5s: Iterable[str]) -> tuple[list[str], list[str]]:
    """Lists of folders, and files."""
    every = list(md5s)
    return [md5 for md5 in every if md5.endswith(FOLDER)], [md5 for md5 in every if not md5.endswith(FOLDER)]


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

    def present(self, md5s: Iterable[str]) -> dict[str, dict[str, int]]:
        """Which of the objects each place has, with their bytes; files before the folders that list them."""
        wanted = sorted(md5s, key=lambda md5: (md5.endswith(FOLDER), md5))
        there = {place: store.listed(OBJECTS) for place, store in self.stores.items()}
        return {
            place: {md5: listed[key].bytes for md5 in wanted if (key := object_key(md5)) in listed}
            for place, listed in there.items()
        }

    def remove(self, objects: Mapping[str, Iterable[str]]) -> None:
        """Remove objects, MD5s by place, so that a removal that is killed can be taken up.

        DVC takes a folder for whole where a remote has its list. So there the list goes first, and the cache, which
        keeps a copy of it until all else is gone, tells the files that are left.
        """
        cached, brought = list(objects.get(CACHE, ())), []
        for place, md5s in objects.items():
            if place != CACHE:
                lists, files = _parted(md5s)
                brought += self._bring(place, lists)
                self._delete(place, lists)
                self._delete(place, files)
        lists, files = _parted(cached + brought)
        self._delete(CACHE, files)
        self._delete(CACHE, lists)

    def _bring(self, place: str, lists: Sequence[str]) -> list[str]:
        """Copy lists of folders from a remote into the cache; those that it did not have."""
        cache, remote = self.stores[CACHE], self.stores[place]
        missing = [md5 for md5 in lists if not cache.exists(object_key(md5))]
        for md5 in missing:
            cache.put_if_absent(object_key(md5), remote.get(object_key(md5)))
        return missing

    def _delete(self, place: str, md5s: Iterable[str]) -> None:
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(self.stores[place].delete, map(object_key, md5s)))

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
