"""GRU4Rec: the next video from the order of those before, by a recurrent network.

Hidasi, Karatzoglou, Baltrunas and Tikk, Session-based recommendations with recurrent neural networks, ICLR 2016, and
Hidasi and Karatzoglou, Recurrent neural networks with top-k gains for session-based recommendations, CIKM 2018: from
there the one embedding for input and output, and negatives beyond the batch (`models.sequence_network`). A whole
history is a session. With x_t = e[z_t] the embedding of the token at position t:

    u_t = sigmoid(W_u x_t + U_u s_(t-1) + b_u)        r_t = sigmoid(W_r x_t + U_r s_(t-1) + b_r)
    s_t = u_t s_(t-1) + (1 - u_t) tanh(W x_t + r_t (U s_(t-1) + c) + b)
    h_t = norm(s_t)                                   score of video i next = h_t . e[i]

`cell: lstm` has Hochreiter and Schmidhuber's long short-term memory (1997) for s_t. The normalisation is ours, so that
scores begin at the scale of the other sequence models.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import keras
from models.params import Gru4RecParams
from models.sequence_model import Draw, SequenceModel
from models.sequence_network import SequenceNetwork
from models.sequences import Sequences
from models.windows import Tokens, pad_token, pads_last

layers = keras.layers

NO_TARGET = -1


class Recurrent(SequenceNetwork):
    """A `SequenceNetwork` that reads from left to right, so padding must come last."""

    def __init__(self, params: Gru4RecParams, n_videos: int, *, name: str) -> None:
        super().__init__(params, n_videos, name=name)
        dtype, cell = params.precision, {"gru": layers.GRU, "lstm": layers.LSTM}[params.cell]
        # XLA cannot compile cuDNN's kernels, which Keras takes by itself where there is a GPU
        cudnn = False if params.jit_compile else "auto"
        self.dropout = layers.Dropout(params.dropout, dtype=dtype)
        self.recurrent = [
            cell(params.dim, return_sequences=True, use_cudnn=cudnn, dtype=dtype, name=f"{params.cell}_{at}")
            for at in range(params.layers)
        ]
        self.last = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="last")

    def call(self, tokens: Any, training: bool = False) -> Any:
        """`[batch, length]` int32 to `[batch, length, dim]`."""
        x = self.dropout(self.embedding(tokens), training=training)
        for recurrent in self.recurrent:
            x = self.dropout(recurrent(x, training=training), training=training)
        return self.last(x)


class Gru4Rec(SequenceModel[Gru4RecParams]):
    """A viewer's vector is the recurrent state after the newest event. A `models.protocol.Recommender`."""

    NAME = "gru4rec"
    PARAMS = Gru4RecParams

    def _new_network(self) -> Recurrent:
        return Recurrent(self.params, self._n_videos, name=self.NAME)

    def _examples(self, train: Sequences) -> Draw:
        causal = super()._examples(train)

        def draw(rng: np.random.Generator) -> tuple[Tokens, Tokens]:
            inputs, targets = causal(rng)
            return pads_last(inputs, pad=pad_token(self._n_videos)), pads_last(targets, pad=NO_TARGET)

        return draw

    def _question(self, histories: Sequences) -> Tokens:
        return pads_last(super()._question(histories), pad=pad_token(self._n_videos))

    def _last_hidden(self, states: NDArray[Any], tokens: Tokens) -> NDArray[Any]:
        newest = np.count_nonzero(tokens != pad_token(self._n_videos), axis=1) - 1
        last: NDArray[Any] = states[np.arange(len(tokens)), newest]
        return last
