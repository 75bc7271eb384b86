"""Histories as the fixed-size windows of tokens that sequence models read. Windows end at the right edge."""

import numpy as np
from numpy.typing import NDArray

from models.sequences import Sequences

Tokens = NDArray[np.int32]


def start_token(n_videos: int) -> int:
    """The token before a history's first video: what follows it is learnt too, so an empty history has an answer."""
    return n_videos


def pad_token(n_videos: int) -> int:
    """The token left of everything, which is attended to by nothing."""
    return n_videos + 1


def mask_token(n_videos: int) -> int:
    """The token in place of a video that is to be told from those around it."""
    return n_videos + 2


def training_windows(histories: Sequences, *, length: int, n_videos: int) -> tuple[Tokens, Tokens]:
    """Cut histories into windows in which every event is to be predicted once.

    A history of more than `length` events gives several windows, cut from its newest end, so that the last position
    always predicts the newest event: what serving asks for.

    Args:
        histories: `[viewers]` histories; the empty give no window.
        length: positions of a window.
        n_videos: size of the vocabulary.

    Returns:
        Inputs and targets, both `[windows, length]` int32. A target is the video after its input; where there is
        none, input is the pad token and target -1.
    """
    lengths = histories.lengths
    windows_of = -(-lengths // length)
    first_window = np.concatenate([[0], np.cumsum(windows_of)])
    viewers = histories.viewer_of_event()
    from_newest = histories.offsets[1:][viewers] - 1 - np.arange(len(histories.videos))
    rows = first_window[viewers] + from_newest // length
    columns = length - 1 - from_newest % length

    previous = np.concatenate([[start_token(n_videos)], histories.videos[:-1]])
    previous[histories.offsets[:-1][lengths > 0]] = start_token(n_videos)
    inputs = np.full((first_window[-1], length), pad_token(n_videos), np.int32)
    targets = np.full((first_window[-1], length), -1, np.int32)
    inputs[rows, columns] = previous
    targets[rows, columns] = histories.videos
    return inputs, targets


def whole_windows(histories: Sequences, *, length: int, n_videos: int) -> Tokens:
    """`[windows, length]` int32, as `training_windows` cuts: each event in one, the start token where it has room."""
    inputs, targets = training_windows(histories, length=length, n_videos=n_videos)
    return np.concatenate([inputs[:, 1:], targets[:, -1:]], axis=1)


def pads_last(rows: Tokens, *, pad: int) -> Tokens:
    """`[windows, length]`: the same rows with every `pad` behind what it stood before."""
    order = np.argsort(rows == pad, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def newest_window(histories: Sequences, *, length: int, n_videos: int) -> Tokens:
    """`[viewers, length]` int32: each viewer's newest events, the start token before them where it has room."""
    tokens = np.full((histories.n_viewers, length), pad_token(n_videos), np.int32)
    viewers = histories.viewer_of_event()
    from_newest = histories.offsets[1:][viewers] - 1 - np.arange(len(histories.videos))
    recent = from_newest < length
    tokens[viewers[recent], length - 1 - from_newest[recent]] = histories.videos[recent]
    short = np.flatnonzero(histories.lengths < length)
    tokens[short, length - 1 - histories.lengths[short]] = start_token(n_videos)
    return tokens
