"""Parameters of each candidate, typed and frozen. Apart from the models, so that reading them imports no Keras."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the parameter tree: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PopularityParams(Section):
    """Time-decayed popularity: an event counts `0.5 ** (age / half_life_days)`; `null` means no decay."""

    half_life_days: Annotated[float, Field(gt=0)] | None = 30.0


class ItemKnnParams(Section):
    """Item-based nearest neighbours by shrunk cosine."""

    neighbours: Positive = 100
    shrink: Annotated[float, Field(ge=0)] = 10.0
    half_life_days: Annotated[float, Field(gt=0)] | None = None


class EaseParams(Section):
    """EASE: closed-form linear autoencoder. `neighbours` strongest weights are kept for each video."""

    l2: Annotated[float, Field(gt=0)] = 250.0
    neighbours: Positive = 300
    half_life_days: Annotated[float, Field(gt=0)] | None = None


class SasRecParams(Section):
    """SASRec: causal transformer over the history.

    `negatives`: 0 trains the full softmax, otherwise a softmax over that many sampled negatives.
    `precision`: `mixed_bfloat16` or `mixed_float16` on GPUs.
    `gpu_memory_growth`: take a GPU's memory as needed, so that others may share it, rather than all at the start.
    """

    dim: Positive = 64
    blocks: Positive = 2
    heads: Positive = 2
    max_length: Positive = 50
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    negatives: Annotated[int, Field(ge=0)] = 0
    batch_size: Positive = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Positive = 60
    patience: Positive = 5
    jit_compile: bool = True
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    gpu_memory_growth: bool = True

    @model_validator(mode="after")
    def _heads_share_dim(self) -> "SasRecParams":
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads. Received: dim={self.dim}, heads={self.heads}")
        return self


class ContentParams(Section):
    """Similarity of content vectors to those of the watched videos.

    `similarity`: `cosine` of unit vectors, or minus squared `euclidean` distance.
    `centre`: subtract each modality's mean over the training videos.
    `weights`: of the modalities by name, 1 for those not named; 0 leaves one out.
    `half_life_days`: days before a viewer's newest event at which an event counts half; `null` means no decay.
    """

    similarity: Literal["cosine", "euclidean"] = "cosine"
    centre: bool = True
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    half_life_days: Annotated[float, Field(gt=0)] | None = None


class TwoTowerParams(Section):
    """Two towers: videos by id and content, viewers by history and context; in-batch softmax.

    `dim`: of the shared space; `hidden`: width of both towers' perceptrons.
    `max_length`: newest events of a history that are read.
    `pooling`: how they become one vector: by learned `attention`, or by their `mean`.
    `half_life_days`: both weigh events by recency before a viewer's newest; `null` means no decay.
    `id_dropout`: share of ids hidden at each training step, so that content alone must do.
    `temperature`: divides cosines; `learn_temperature` starts from it.
    `popularity_correction`: how much of log(popularity) is taken off an in-batch negative's score; 1 as in the paper.
    """

    dim: Positive = 64
    hidden: Positive = 128
    max_length: Positive = 50
    pooling: Literal["attention", "mean"] = "attention"
    half_life_days: Annotated[float, Field(gt=0)] | None = None
    id_dropout: Annotated[float, Field(ge=0, le=1)] = 0.5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    temperature: Annotated[float, Field(gt=0)] = 0.1
    learn_temperature: bool = True
    popularity_correction: Annotated[float, Field(ge=0, le=1)] = 1.0
    batch_size: Positive = 512
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Positive = 30
    patience: Positive = 4
    jit_compile: bool = True
    gpu_memory_growth: bool = True


class Candidates(Section):
    """Parameters of each candidate, under its name."""

    popularity: PopularityParams = PopularityParams()
    itemknn: ItemKnnParams = ItemKnnParams()
    ease: EaseParams = EaseParams()
    sasrec: SasRecParams = SasRecParams()
    content: ContentParams = ContentParams()
    twotower: TwoTowerParams = TwoTowerParams()


class LoopParams(Section):
    """How a learner on video is trained.

    `clip`: longest gradient of one weight; `jit_compile`: steps are compiled by XLA, worth its time on long trainings.
    """

    batch_size: Positive = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Positive = 60
    patience: Positive = 8
    clip: Annotated[float, Field(gt=0)] = 1.0
    jit_compile: bool = False


class FrameSequenceParams(LoopParams):
    """Next frame from those before, by a recurrent network.

    `cell`: `gru` or `lstm`; `units`: length of its state; `dim`: principal components of frame features it reads.
    `window`: frames that are looked at; `stride`: frames of the kept sequence from one of them to the next.
    `codes`: size of the codebook of frames; `code_weight`: of the softmax's loss beside the regression's.
    """

    cell: Literal["gru", "lstm"] = "gru"
    units: Positive = 64
    dim: Positive = 32
    window: Annotated[int, Field(ge=2)] = 8
    stride: Positive = 4
    codes: Annotated[int, Field(ge=2)] = 32
    code_weight: Annotated[float, Field(ge=0)] = 0.25
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
