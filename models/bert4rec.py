"""BERT4Rec: hidden videos from those on both sides, by a transformer that sees all; the next one is hidden too.

Sun et al., BERT4Rec: sequential recommendation with bidirectional encoder representations from Transformer, CIKM 2019.
With M the positions of a window that hold the mask token in place of their videos v_t, z what then stands there, and
e, p the embeddings of tokens and positions:

    h_t = norm(Blocks(e[z_1] + p_1, ..., e[z_n] + p_n)_t)        loss = mean over t in M of -log softmax(E h_t)[v_t]

Asked for the next video, it reads the newest events and a mask after them: score of video i = h_n . e[i]. As that is
always the last position, a share of windows has that one hidden alone, as the paper does. Blocks are SASRec's, so the
two differ in their task; the paper's head and its bias a video are left out, since a score is a dot product here.

It must be trained long: an epoch asks for a share of the videos only, and few of them the last. Petrov and Macdonald, A
systematic review and replicability study of BERT4Rec for sequential recommendation, RecSys 2022, find that published
figures of it fall short for that reason, by up to thirty times too short a training.
"""

from typing import Any

import numpy as np

from models.backend import keras
from models.params import Bert4RecParams
from models.sequence_model import Draw, SequenceModel
from models.sequences import Sequences
from models.transformer import Transformer
from models.windows import Tokens, mask_token, newest_window, whole_windows

ops = keras.ops


class MaskedTransformer(Transformer):
    """A bidirectional `Transformer`, whose loss looks at `n_hidden` positions of a window at most."""

    def __init__(self, params: Bert4RecParams, n_videos: int, *, name: str) -> None:
        super().__init__(params, n_videos, name=name, causal=False, special=3)
        self.n_hidden = int(hidden_of(params.max_length, share=params.mask_share))

    def _predicted(self, hidden: Any, targets: Any) -> tuple[Any, Any]:
        """`[batch, n_hidden, dim]` and `[batch, n_hidden]`: the others would be scored for nothing."""
        _, at = ops.top_k(ops.cast(ops.greater_equal(targets, 0), "float32"), self.n_hidden)
        # a product rather than a gather: XLA scatters gradients one by one on a CPU
        picked = ops.matmul(ops.one_hot(at, hidden.shape[1], dtype="float32"), hidden)
        return picked, ops.take_along_axis(targets, at, axis=1)


class Bert4Rec(SequenceModel[Bert4RecParams]):
    """A viewer's vector is the state of a mask after the newest event. A `models.protocol.Recommender`."""

    NAME = "bert4rec"
    PARAMS = Bert4RecParams

    def _new_network(self) -> MaskedTransformer:
        return MaskedTransformer(self.params, self._n_videos, name=self.NAME)

    def _examples(self, train: Sequences) -> Draw:
        whole = whole_windows(train, length=self.params.max_length, n_videos=self._n_videos)
        shares = {"share": self.params.mask_share, "last_share": self.params.last_share}
        return lambda rng: masked(whole, n_videos=self._n_videos, rng=rng, **shares)

    def _question(self, histories: Sequences) -> Tokens:
        newest = newest_window(histories, length=self.params.max_length - 1, n_videos=self._n_videos)
        return np.pad(newest, ((0, 0), (0, 1)), constant_values=mask_token(self._n_videos))


def masked(
    whole: Tokens, *, n_videos: int, share: float, last_share: float, rng: np.random.Generator
) -> tuple[Tokens, Tokens]:
    """Hide some videos of each window.

    Args:
        whole: `[windows, length]` tokens, a video at the last position of each.
        n_videos: size of the vocabulary; only videos are hidden.
        share: of a window's videos that are hidden, at least one.
        last_share: of the windows, rounded up, in which the last video alone is hidden.
        rng: draws which.

    Returns:
        Inputs, with the mask token where a video is hidden, and targets, -1 where none is; both `[windows, length]`.
    """
    real = whole < n_videos
    counts = hidden_of(np.count_nonzero(real, axis=1), share=share)
    chance = np.where(real, rng.random(whole.shape), -1)
    only_last = rng.permutation(len(whole)) < np.ceil(last_share * len(whole))
    counts[only_last], chance[only_last, -1] = 1, 2
    ranks = np.argsort(np.argsort(-chance, axis=1), axis=1)
    hidden = ranks < counts[:, None]
    return np.where(hidden, mask_token(n_videos), whole), np.where(hidden, whole, -1)


def hidden_of(videos: Any, *, share: float) -> Any:
    """How many of so many videos are hidden: the `share`, at least one."""
    return np.maximum(np.rint(np.multiply(videos, share)), 1).astype(np.int64)
