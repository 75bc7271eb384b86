"""Regions: where and when viewers watch, as a graph of regions by hour, its flows and hot spots, a vector a viewer."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.places import Places
from models.region_graph import HOURS, RegionEvents, RegionGraph
from tasks import paths
from tasks.params import Regions, load_params
from tasks.positives import context_codes
from tasks.prepared import Prepared
from tasks.schema import Events, Videos
from tasks.split import TRAIN
from tasks.stage import new_folder, stage, write_json

GRAPH, VIEWERS = "graph", "viewers.npy"
FLOWS, HOT_SPOTS = "flows.parquet", "hot_spots.parquet"
WIDEST = 28  # letters of a name on a screen
log = logging.getLogger(__name__)


def regions(accepted: Path, prepared: Prepared, out: Path, metrics: Path, *, params: Regions) -> None:
    """Leave the graph, `flows.parquet`, `hot_spots.parquet` and `viewers.npy`; all empty where no event has a region.

    Args:
        accepted: has `events.parquet`.
        prepared: whose viewers and split these are.
        out: made anew. `viewers.npy` is `[viewers, dim]` float32 in the order of the prepared viewers, a row of NaN
            where nothing is known of where a viewer was.
        metrics: gets the counts.
        params: of the graph and the vectors.
    """
    names, events = training_events(accepted, prepared)
    graph = RegionGraph.build(names, events, dim=params.dim, max_gap_hours=params.max_gap_hours)
    n_viewers = prepared.viewers.height
    viewers = graph.trajectories(events, n_viewers=n_viewers, half_life_days=params.half_life_days)
    flows, spots = flow_table(graph), hot_spot_table(graph)
    new_folder(out)
    graph.save(out / GRAPH)
    flows.write_parquet(out / FLOWS)
    spots.write_parquet(out / HOT_SPOTS)
    np.save(out / VIEWERS, viewers, allow_pickle=False)
    moves = flows.filter(pl.col("from") != pl.col("to"))
    facts = {
        "regions": len(names),
        "events": len(events.viewers),
        "steps": int(flows["steps"].sum()),
        "moves": int(moves["steps"].sum()),
        "hot_spots": int(spots["hot"].sum()),
        "viewers": n_viewers,
        "viewers_with_vector": int(np.isfinite(viewers).all(axis=1).sum()),
    }
    write_json(metrics, facts)
    log.info("%(events)d events in %(regions)d regions, %(viewers_with_vector)d of %(viewers)d viewers", facts)


def read_places(folder: Path) -> Places:
    """The regions of the graph that `regions` left in `folder`, as a ranker looks them up."""
    graph = RegionGraph.load(folder / GRAPH)
    if not graph.regions:
        return Places.none()
    return Places.of(context_codes(pl.Series(graph.regions)), graph.vectors)


def training_events(accepted: Path, prepared: Prepared) -> tuple[tuple[str, ...], RegionEvents]:
    """Names of the regions, sorted, and the events in them that may be learnt from.

    Those are each viewer's up to the newest positive in training, liked or not, less all events of a video that is
    held out for that viewer. A blank region is none.
    """
    events = pl.scan_parquet(accepted / "events.parquet")
    if Events.REGION not in events.collect_schema():
        nothing = np.zeros(0, np.int64)
        return (), RegionEvents(nothing, nothing, nothing)
    until, withheld = _learnt_until(prepared), _withheld(prepared)
    found = (
        events.select(Events.USER, Events.VIDEO, Events.TIME, Events.REGION)
        .filter(pl.col(Events.REGION).str.strip_chars() != "")
        .with_columns(pl.col(Events.TIME).dt.epoch("ms"))
        .join(until.lazy(), on=Events.USER)
        .filter(pl.col(Events.TIME) <= pl.col("until"))
        .join(withheld.lazy(), on=["viewer", Events.VIDEO], how="anti")
        .select("viewer", Events.TIME, Events.REGION)
        .collect()
        .sort("viewer", Events.TIME, Events.REGION)
    )
    names = found[Events.REGION].unique().sort()
    numbers = names.search_sorted(found[Events.REGION]).to_numpy().astype(np.int64)
    return tuple(names), RegionEvents(found["viewer"].to_numpy(), numbers, found[Events.TIME].to_numpy())


def _learnt_until(prepared: Prepared) -> pl.DataFrame:
    """Id, number and the time of the newest positive in training of each viewer who has one."""
    train = prepared.train()
    known = np.flatnonzero(train.lengths)
    ids = prepared.viewers[Events.USER][known.tolist()]
    return pl.DataFrame({Events.USER: ids, "viewer": known, "until": train.times[train.offsets[known + 1] - 1]})


def _withheld(prepared: Prepared) -> pl.DataFrame:
    """Viewer's number and video's id of each positive that is not learnt from."""
    kept_out = prepared.sequences.where(prepared.split != TRAIN)
    videos = prepared.videos[Videos.ID][kept_out.videos.tolist()]
    return pl.DataFrame({"viewer": kept_out.viewer_of_event(), Events.VIDEO: videos})


def flow_table(graph: RegionGraph) -> pl.DataFrame:
    """`hour` (UTC) of departure, `from`, `to` (the same for a stay), `steps`; a row for each that anybody took."""
    hour, source, target, steps = graph.flows().T
    return pl.DataFrame({"hour": hour, "from": _named(graph, source), "to": _named(graph, target), "steps": steps})


def hot_spot_table(graph: RegionGraph) -> pl.DataFrame:
    """`region`, `hour` (UTC), `events`, `visits`, `expected`, `residual`, `hot`: 24 rows a region, in its order."""
    spots = graph.hot_spots()
    region = np.repeat(np.arange(len(graph.regions)), HOURS)
    columns = {
        "region": _named(graph, region),
        "hour": np.tile(np.arange(HOURS), len(graph.regions)),
        "events": graph.events.ravel(),
        "visits": graph.visits.ravel(),
        "expected": spots.expected.ravel(),
        "residual": spots.residual.ravel(),
        "hot": spots.hot.ravel(),
    }
    return pl.DataFrame(columns)


def shown(region: str) -> str:
    """The name for a screen or a picture: short, and without what a terminal would act on."""
    plain = "".join(letter if letter.isprintable() else "�" for letter in region)
    return plain if len(plain) <= WIDEST else plain[: WIDEST - 1] + "…"


def _named(graph: RegionGraph, numbers: NDArray[np.int64]) -> pl.Series:
    return pl.Series([graph.regions[number] for number in numbers.tolist()], dtype=pl.String)


def main() -> None:
    """The DVC stage."""
    params = load_params(Path("params.yaml")).regions
    regions(paths.ACCEPTED, Prepared(paths.PREPARED), paths.REGIONS, paths.REGIONS_METRICS, params=params)


if __name__ == "__main__":
    stage(main)
