"""The MovieLens night as a Prefect flow over DVC stages, against the same step functions in one plain process.

python benchmarks/night.py [--set KEY=VALUE ...]     one table: seconds, ratio, peak memory, a second night

Both start from nothing in a temporary clone, one after the other, the plain script first; the time until a temporary
Prefect server has answered its first, empty flow is told apart. Memory is the sum over the night's processes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent

PLAIN = """
import importlib, json, sys, time
from pathlib import Path
started = time.perf_counter()
import yaml
from infra.registry import Registry
from infra.settings import Settings
from infra.stores import open_store
from lineage.ledger import Draft, Ledger
from lineage.promotion import go_live
from lineage.releases import Releases
from tasks import paths
from tasks.bundle import bundle
from tasks.landing import land
from tasks.params import load_params
from tasks.recommend import Bundle
from tasks.register import register
from tasks.stage import write_json

settings, root = Settings(), Path.cwd()
params = load_params(Path("params.yaml"), sys.argv[1:]).model_copy(update={"name": "movielens"})
Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
landed = land("movielens", None, name="movielens", settings=settings)
paths.LANDED.parent.mkdir(exist_ok=True)
paths.LANDED.write_text(landed.as_json())
write_json(paths.CHAMPION, {"release": None})
per_candidate = [(step, name) for name in params.every_candidate for step in ("train", "evaluate")]
before = [("ingest",), ("validate",), ("prepare",), ("regions",), ("encode",)]
for step, *words in [*before, *per_candidate, ("index",), ("champion",), ("gate",)]:
    importlib.import_module(f"tasks.{step}").main(*words)
Path("dvc.lock").touch()
manifest = bundle(root, root / "bundle", params=params, code="0" * 40)
store = open_store(settings.store_url, settings)
releases = Releases(store, settings.home_dir / "releases")
release = releases.publish(root / "bundle", manifest)
registry = Registry(settings, "movielens")
version = register(root, root / "bundle", registry, run="plain", tags={"nightreel.candidate": manifest.candidate})
draft = Draft(action="release", release=release, model_version=version, by="benchmark", reason="benchmark")
check = lambda folder: Bundle(folder, manifest.candidate).answer_somebody()
entry = go_live(Ledger(store, "movielens"), releases, draft, after=None, check=check)
registry.mirror_once("champion", version, seq=entry.seq)
print(json.dumps({"seconds": time.perf_counter() - started}))
"""

FLOW = """
import json, sys, time
from flows.run import _prefect_ready, _request
started = time.perf_counter()
request = _request("movielens", None, None, sys.argv[1:])
_prefect_ready()
from prefect import flow
flow(lambda: None, name="empty")()
ready = time.perf_counter()
from flows.night import night
outcome = night(request)
print(json.dumps({"prefect": ready - started, "seconds": time.perf_counter() - ready, "status": outcome.status}))
"""


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    words = options.parse_args().overrides
    with tempfile.TemporaryDirectory() as folder:
        plain = _measured(PLAIN, words, _clone(Path(folder) / "plain"))
        project = _clone(Path(folder) / "flow")
        first, second = _measured(FLOW, words, project), _measured(FLOW, words, project)
    table = Table("", "plain script", "flow", "ratio", "flow again, nothing changed", title="The MovieLens night")
    ratio = first["seconds"] / plain["seconds"]
    table.add_row(
        "seconds", f"{plain['seconds']:.1f}", f"{first['seconds']:.1f}", f"{ratio:.2f}", f"{second['seconds']:.1f}"
    )
    table.add_row("Prefect's own start, seconds", "", f"{first['prefect']:.1f}", "", f"{second['prefect']:.1f}")
    peaks = [f"{run['megabytes']:,.0f}" for run in (plain, first, second)]
    table.add_row("peak memory, MB", peaks[0], peaks[1], "", peaks[2])
    table.add_row("ends", "released", str(first["status"]), "", str(second["status"]))
    Console().print(table)


def _clone(target: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    return target


def _measured(script: str, words: list[str], project: Path) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(project), "NIGHTREEL_HOME": str(project / ".nightreel")}
    command = [sys.executable, "-c", script, *words]
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peak = [0]
    threading.Thread(target=_watch, args=(process.pid, peak), daemon=True).start()
    out, err = process.communicate()
    if process.returncode:
        sys.exit(err.decode())
    return json.loads(out.decode().splitlines()[-1]) | {"megabytes": peak[0] / 1e6}


def _watch(pid: int, peak: list[int]) -> None:
    """Keep the largest sum of resident memory over the process and its children, Prefect's server left out."""
    while psutil.pid_exists(pid):
        total = 0
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in family:
            try:
                if "uvicorn" not in " ".join(process.cmdline()):
                    total += process.memory_info().rss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
