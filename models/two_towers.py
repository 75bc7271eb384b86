"""Two towers in `keras.ops` and `keras.layers` alone: videos by id and content, viewers by history and circumstances.

Yi et al., Sampling-bias-corrected neural modeling for large corpus item recommendations, RecSys 2019: softmax over the
videos of the batch, which are there as often as they are popular, so log(popularity) is taken off. Volkovs et al.,
DropoutNet, NeurIPS 2017: ids hidden at random, so that content alone must do.
"""

import math
from collections.abc import Mapping
from typing import Any

from models.backend import keras
from models.network_state import RepeatableModel
from models.params import TwoTowerParams

ops = keras.ops
layers = keras.layers

NEVER = -1e9


class VideoTower(keras.layers.Layer):  # type: ignore[misc]
    """Ids and content to unit vectors. The row after the vocabulary's stands for every video without an id.

    Each modality is read by a matrix that starts orthogonal, their sum goes round the perceptron, and that starts at
    zero: training begins with the encoders' own likenesses and moves away from them only as far as it pays. With a
    perceptron in their way new videos were ranked worse on the validation part (docs/content.md).
    """

    def __init__(self, params: TwoTowerParams, n_videos: int, dims: Mapping[str, int]) -> None:
        super().__init__(name="videos")
        self.unknown = n_videos
        self.id_dropout = params.id_dropout
        small = keras.initializers.RandomNormal(stddev=0.05)
        self.ids = layers.Embedding(n_videos + 1, params.dim, small, name="ids")
        self.readers = {
            name: layers.Dense(params.dim, kernel_initializer="orthogonal", name=f"from_{name}") for name in dims
        }
        self.absent = {
            name: self.add_weight(shape=(params.dim,), initializer="zeros", name=f"no_{name}") for name in dims
        }
        self.widen = layers.Dense(params.hidden, activation="gelu", name="widen")
        self.narrow = layers.Dense(params.dim, kernel_initializer="zeros", name="narrow")
        self.dropout = layers.Dropout(params.dropout)
        self.draws = keras.random.SeedGenerator(0)

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """`[n, dim]` of length 1.

        `inputs`: `ids` `[n]` int32; for each modality its vectors `[n, dim]`, and as `has_` and its name `[n, 1]` bool.
        """
        ids = inputs["ids"]
        if training:
            is_hidden = keras.random.uniform(ops.shape(ids), seed=self.draws) < self.id_dropout
            ids = ops.where(is_hidden, self.unknown, ids)
        parts = [self.ids(ids)]
        for name, reader in self.readers.items():
            told = reader(self.dropout(inputs[name], training=training))
            parts.append(ops.where(inputs[f"has_{name}"], told, self.absent[name]))
        hidden = self.widen(ops.concatenate(parts, axis=-1))
        return of_length_one(sum(parts) + self.narrow(self.dropout(hidden, training=training)))


class ViewerTower(keras.layers.Layer):  # type: ignore[misc]
    """A history of video vectors and its circumstances to a unit vector."""

    def __init__(self, params: TwoTowerParams) -> None:
        super().__init__(name="viewers")
        self.attends = params.pooling == "attention"
        if self.attends:
            self.look = layers.Dense(params.dim, activation="tanh", name="look")
            self.judge = layers.Dense(1, use_bias=False, name="judge")
        self.widen = layers.Dense(params.hidden, activation="gelu", name="widen")
        self.narrow = layers.Dense(params.dim, name="narrow")
        self.dropout = layers.Dropout(params.dropout)

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """`[n, dim]` of length 1.

        `inputs`: `history` `[n, length, dim]`, zeros where there is no event; `freshness` `[n, length]`, the logarithm
        of how much each event counts, `NEVER` where there is none; `context` `[n, models.recent.CONTEXT]`.
        """
        history = inputs["history"]
        shares = ops.softmax(inputs["freshness"] + self.salience(history), axis=-1)
        return self.moved(ops.sum(ops.expand_dims(shares, -1) * history, axis=1), inputs["context"], training=training)

    def salience(self, videos: Any) -> Any:
        """`[...]`: how much each of `videos` `[..., dim]` is attended to, which depends on nothing but the video."""
        return self.judge(self.look(videos))[..., 0] if self.attends else ops.zeros_like(videos[..., 0])

    def moved(self, pooled: Any, context: Any, training: bool = False) -> Any:
        """`[n, dim]` of length 1, from the mean `[n, dim]` of what was watched."""
        x = self.widen(ops.concatenate([pooled, context], axis=-1))
        return of_length_one(pooled + self.narrow(self.dropout(x, training=training)))


class TwoTowers(RepeatableModel):
    """Both, as they are trained together: a batch in, the logits of its viewers against its videos out.

    Inputs, beside those of the video tower for `rows` videos: `history` `[batch, length]` int32, which of the `rows`
    was watched, any where `freshness` is `NEVER`; `freshness`, `context` as the viewer tower takes them; `target`
    `[batch]` int32, which of the `rows` comes next; `log_popularity` `[batch]`, of the target; `weight` `[batch]`,
    0 where the row only fills the batch. Targets given to the loss: `weight` again.
    """

    def __init__(self, params: TwoTowerParams, n_videos: int, dims: Mapping[str, int]) -> None:
        super().__init__(name="twotower")
        self.correction = params.popularity_correction
        self.videos = VideoTower(params, n_videos, dims)
        self.viewers = ViewerTower(params)
        start = keras.initializers.Constant(math.log(params.temperature))
        self.log_temperature = self.add_weight(
            shape=(1,), initializer=start, trainable=params.learn_temperature, name="log_temperature"
        )

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """`[batch, batch]` float32 logits: of each viewer's own target on the diagonal, of the others' beside it."""
        videos = self.videos(inputs, training=training)
        pooled = ops.matmul(self._shares(videos, inputs), videos)
        viewers = self.viewers.moved(pooled, inputs["context"], training=training)
        target = inputs["target"]
        cosines = ops.matmul(viewers, ops.transpose(ops.take(videos, target, axis=0)))
        logits = cosines * ops.exp(-self.log_temperature) - self.correction * inputs["log_popularity"]
        return ops.where(self._no_negative(target, inputs["weight"]), NEVER, logits)

    def _shares(self, videos: Any, inputs: dict[str, Any]) -> Any:
        """`[batch, rows]`: how much each video counts in each history.

        As a matrix, since the gradient of a product is one too, where that of gathering whole vectors is scattered.
        """
        history, freshness = inputs["history"], inputs["freshness"]
        shares = ops.softmax(freshness + ops.take(self.viewers.salience(videos), history), axis=-1)
        shares = shares * ops.cast(freshness > NEVER / 2, "float32")
        batch, length = history.shape
        viewer = ops.repeat(ops.arange(batch), length)
        places = ops.stack([viewer, ops.reshape(history, (-1,))], axis=1)
        return ops.scatter(places, ops.reshape(shares, (-1,)), (batch, videos.shape[0]))

    @staticmethod
    def _no_negative(target: Any, weight: Any) -> Any:
        """`[batch, batch]`: the target itself when it is another viewer's too, and rows that only fill the batch."""
        same = ops.equal(ops.expand_dims(target, 0), ops.expand_dims(target, 1))
        filling = ops.expand_dims(ops.equal(weight, 0), 0)
        elsewhere = ops.logical_not(ops.cast(ops.eye(target.shape[0]), "bool"))
        return ops.logical_and(elsewhere, ops.logical_or(same, filling))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Mean cross-entropy, each row weighing `y` `[batch]`: a float32 scalar."""
        own = ops.diagonal(y_pred)
        losses = ops.logsumexp(y_pred, axis=-1) - own
        return ops.sum(losses * y) / ops.maximum(ops.sum(y), 1e-9)


def of_length_one(x: Any) -> Any:
    """`x` `[..., dim]` over its length; the small number keeps the gradient finite at zero."""
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-6)
