"""Learning on video, measured on the real clips of `NIGHTREEL_DATA` (default `../shared/data`).

    python -m benchmarks.clips --kept build/clips --seeds 3

Next frame: a GRU and an LSTM beside copying the last frame and the window's mean, on each clip's last 30 %, and on
clips that training never saw (leave one clip out). Alignment: retrieval of a held-out segment's other view beside the
features as they come. Frames are encoded once and kept in `--kept`.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from models.alignment import Alignment
from models.encoders.frames import open_frame_encoder
from models.frame_sequence import FrameSequence
from models.params import Learn
from tasks.bootstrap import paired_bootstrap
from tasks.clips import Clip, Limits, Parts, make_clip, split_in_time
from tasks.learn import views_of
from tasks.learn_measures import NextFrames, measure_next_frames, measure_views

PARAMS = Learn()


def kept_clips(folder: Path) -> dict[str, Clip]:
    """The real clips, encoded now or before."""
    encoder = None
    found = {}
    for path in sorted((Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "clips").glob("*.mp4")):
        kept = folder / f"{path.stem}.npz"
        if not kept.exists():
            encoder = encoder or open_frame_encoder("efficientnet-lite0")
            of = PARAMS.clips
            clip = make_clip(path, encode=encoder.encode, fps=of.fps, views=of.views, seed=0, limits=Limits())
            clip.save(kept)
        found[path.stem] = Clip.load(kept)
    return found


def in_time(clips: dict[str, Clip]) -> list[Parts]:
    """Each clip's first part to learn from, its last to be judged by."""
    of = PARAMS.clips
    return [split_in_time(clip, held_out=of.held_out, valid=of.valid, gap=of.gap) for clip in clips.values()]


def next_frames(cell: str, parts: Sequence[Parts], *, seed: int) -> NextFrames:
    """One training and its measure."""
    model = FrameSequence(PARAMS.frame_sequence.model_copy(update={"cell": cell}))
    train, valid, held_out = ([getattr(part, name).features for part in parts] for name in Parts.__annotations__)
    model.fit(train, valid, seed=seed)
    return measure_next_frames(model, train, held_out)


def left_out(clips: dict[str, Clip], name: str) -> list[Parts]:
    """The clip `name` to be judged by, all others to learn from, their ends to stop by."""
    others = in_time({other: clip for other, clip in clips.items() if other != name})
    empty = clips[name].part(0, 0)
    return [*(Parts(part.train, part.valid, empty) for part in others), Parts(empty, empty, clips[name])]


def row_of(told: Sequence[NextFrames], side: str) -> list[str]:
    """Mean over seeds, and the spread where there are several."""
    cells = []
    for figure in ("mse", "cosine", "top1", "perplexity"):
        values = [each.figures[side].get(figure, np.nan) for each in told]
        spread = f" ± {np.std(values):.3f}" if len(values) > 1 and side == "model" else ""
        cells.append("" if np.isnan(values[0]) else f"{np.mean(values):.4f}{spread}")
    return cells


def interval_of(told: NextFrames) -> str:
    """95 % of the difference in squared error to copying, as a share of copying's; by blocks of windows."""
    found = paired_bootstrap(*told.blocks.T, confidence=0.95, resamples=2000, seed=0)
    scale = told.blocks[:, 1].mean()
    return (
        f"{found.mean / scale:+.1%} ({found.low / scale:+.1%} to {found.high / scale:+.1%}), {len(told.blocks)} blocks"
    )


def frames_table(clips: dict[str, Clip], seeds: int, console: Console) -> None:
    """The tables of the next frame."""
    table = Table("protocol", "who", "mse", "cosine", "top-1", "perplexity", "mse against copying", "seconds")
    protocols = {"in time": in_time(clips)} | {f"without {name}": left_out(clips, name) for name in clips}
    for protocol, parts in protocols.items():
        for cell in ("gru", "lstm"):
            began = time.perf_counter()
            try:
                told = [next_frames(cell, parts, seed=seed) for seed in range(seeds if protocol == "in time" else 1)]
            except ValueError as error:
                console.print(f"{protocol}: {error}")
                break
            seconds = f"{(time.perf_counter() - began) / len(told):.0f}"
            table.add_row(protocol, cell, *row_of(told, "model"), interval_of(told[0]), seconds)
        else:
            for side in ("copy-last", "window-mean"):
                table.add_row(protocol, side, *row_of(told[:1], side))
    console.print(table)


def views_table(clips: dict[str, Clip], seeds: int, console: Console) -> None:
    """The table of alignment."""
    parts = in_time(clips)
    train, valid, held_out = ([views_of(part, name) for part in parts] for name in Parts.__annotations__)
    table = Table("view", "who", "R@1", "MRR", "queries")
    untrained = Alignment(PARAMS.alignment)
    untrained.start_from(train, seed=0)
    trained = []
    for seed in range(seeds):
        model = Alignment(PARAMS.alignment)
        model.fit(train, valid, seed=seed)
        trained.append(measure_views(model, held_out))
    before = measure_views(untrained, held_out)
    for kind, sides in before.items():
        other = next(side for side in sides if side != "model")
        for who, told in (("trained", [each[kind]["model"] for each in trained]), (other, [sides[other]])):
            table.add_row(kind, who, *(spread([one[name] for one in told]) for name in ("recall_at_1", "mrr")))
        table.add_row(kind, "untrained heads", *(f"{sides['model'][name]:.3f}" for name in ("recall_at_1", "mrr")))
        table.add_row(kind, "", "", "", f"{sides['model']['queries']:.0f}", end_section=True)
    console.print(table)


def spread(values: Sequence[float]) -> str:
    """Mean, and the standard deviation over seeds."""
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values):.3f}" if len(values) > 1 else "")


def main() -> None:
    """Encode, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, default=Path("build/clips"))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    console = Console(width=150)
    clips = kept_clips(given.kept)
    if not clips:
        raise SystemExit("There are no clips: name the data's folder in NIGHTREEL_DATA")
    views_table(clips, given.seeds, console)
    frames_table(clips, given.seeds, console)


if __name__ == "__main__":
    main()
