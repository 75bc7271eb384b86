"""Parameters of each candidate, typed and frozen. Apart from the models, so that reading them imports no Keras."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST = 2**31 - 1  # of a count: what arrays and the libraries behind them take

Positive = Annotated[int, Field(ge=1, le=LARGEST)]


class Section(BaseModel):
    """A part of the parameter tree: frozen; an unknown key is an error, and so is NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PopularityParams(Section):
    """Time-decayed popularity: an event counts `0.5 ** (age / half_life_days)`; `null` means no decay."""

    half_life_days: Annotated[float, Field(gt=0)] | None = 30.0


Similarity = Literal["cosine", "pearson", "jaccard"]


class HistoryParams(Section):
    """Of what learns from histories. `half_life_days`: an older event counts half; `null` means no decay."""

    half_life_days: Annotated[float, Field(gt=0)] | None = None


class NeighbourParams(Section):
    """The `neighbours` nearest by `similarity`, to whose denominator `shrink` is added."""

    similarity: Similarity = "cosine"
    neighbours: Positive = 100
    shrink: Annotated[float, Field(ge=0)] = 10.0


class ItemKnnParams(NeighbourParams, HistoryParams):
    """Item-based nearest neighbours."""


class UserKnnParams(NeighbourParams, HistoryParams):
    """User-based nearest neighbours."""

    neighbours: Positive = 50


class HybridCfParams(HistoryParams):
    """Item- and user-based nearest neighbours. `weight`: of the user-based side, the other's is the rest of 1."""

    weight: Annotated[float, Field(ge=0, le=1)] = 0.25
    items: NeighbourParams = NeighbourParams()
    users: NeighbourParams = NeighbourParams(neighbours=50)


class IalsParams(Section):
    """Implicit alternating least squares: `alpha` times an event's strength, plus 1, is the confidence in it."""

    factors: Positive = 64
    alpha: Annotated[float, Field(gt=0)] = 3.0
    l2: Annotated[float, Field(gt=0)] = 3.0
    iterations: Positive = 16


class EaseParams(HistoryParams):
    """EASE: closed-form linear autoencoder. `neighbours` strongest weights are kept for each video."""

    l2: Annotated[float, Field(gt=0)] = 250.0
    neighbours: Positive = 300


class EaseMarkovParams(EaseParams):
    """EASE blended with what followed what.

    `blend`: weight of the transitions, EASE's is the rest of 1. `newest`: events of a history that they start from.
    `shrink`: added to how often a video was followed. `gap_half_life_days`: two watches that far apart count half.
    """

    blend: Annotated[float, Field(ge=0, le=1)] = 0.5
    newest: Positive = 3
    shrink: Annotated[float, Field(ge=0)] = 10.0
    gap_half_life_days: Annotated[float, Field(gt=0)] | None = None


class SequenceParams(Section):
    """What sequence models share, each a network over the newest `max_length` events.

    `negatives`: 0 scores all videos in training, otherwise the watched one and that many drawn ones.
    `loss`: `softmax`, full or sampled, or `gbce` over sampled ones, whose `calibration` is gSASRec's t.
    `jit_compile`: steps are compiled by XLA.
    `precision`: `mixed_bfloat16` or `mixed_float16` on GPUs.
    `gpu_memory_growth`: take a GPU's memory as needed, so that others may share it, rather than all at the start.
    """

    dim: Positive = 64
    max_length: Positive = 50
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    negatives: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    loss: Literal["softmax", "gbce"] = "softmax"
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.75
    batch_size: Positive = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Positive = 60
    patience: Positive = 5
    jit_compile: bool = True
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    gpu_memory_growth: bool = True

    @model_validator(mode="after")
    def _gbce_has_negatives(self) -> Self:
        if self.loss == "gbce" and not self.negatives:
            raise ValueError("loss gbce is over sampled negatives: negatives must be 1 or more. Received: negatives=0")
        return self


class TransformerParams(SequenceParams):
    """A sequence model that is a transformer of `blocks`, whose `heads` share `dim`."""

    blocks: Positive = 2
    heads: Positive = 2

    @model_validator(mode="after")
    def _heads_share_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads. Received: dim={self.dim}, heads={self.heads}")
        return self


class SasRecParams(TransformerParams):
    """SASRec: causal transformer over the history; gSASRec with `loss: gbce`."""


class Gru4RecParams(SequenceParams):
    """GRU4Rec: `layers` of recurrent `cell`s, as wide as the embedding, over the history.

    `jit_compile`: on CPU, a quarter to two thirds faster; on GPUs it forgoes cuDNN's recurrent kernels.
    """

    cell: Literal["gru", "lstm"] = "gru"
    layers: Positive = 1
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3


class Bert4RecParams(TransformerParams):
    """BERT4Rec: bidirectional transformer that tells hidden videos.

    `max_length`: with the mask. `mask_share`: of a window's videos that are hidden; `last_share`: of windows in which
    only the last one is.
    `epochs`: many, since each asks for a share of the videos only; `patience` must outlast its slow start.
    `jit_compile`: for GPUs; on CPU, XLA takes six times as long.
    """

    max_length: Annotated[int, Field(ge=2, le=LARGEST)] = 50
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    last_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    epochs: Positive = 200
    patience: Positive = 25
    jit_compile: bool = False


class LoopParams(Section):
    """How a learner on video is trained.

    `clip`: longest gradient of one weight; `jit_compile`: steps are compiled by XLA, worth its time on long trainings.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Positive = 60
    patience: Positive = 8
    clip: Annotated[float, Field(gt=0)] = 1.0
    jit_compile: bool = False


class Retrievers(Section):
    """What proposes videos to a ranker, with parameters of its own; `null` leaves one out.

    The first that is not left out, in this order, lends its vectors to the index.
    """

    easemarkov: EaseMarkovParams | None = EaseMarkovParams()
    ease: EaseParams | None = None
    ials: IalsParams | None = None
    itemknn: ItemKnnParams | None = ItemKnnParams()
    userknn: UserKnnParams | None = None
    popularity: PopularityParams | None = PopularityParams()

    def chosen(self) -> dict[str, Section]:
        """Those that are not left out, by name."""
        return {name: params for name, params in self if params is not None}

    @model_validator(mode="after")
    def _one_proposes(self) -> Self:
        if not self.chosen():
            raise ValueError("retrievers must have one that is not null. Received: none")
        return self


class TaskWeights(Section):
    """What each thing that is told counts in a video's score.

    `positive` is the chance that the video becomes a positive, `watch` is log(1 + seconds watched), `rating` what it
    would be rated; all others are chances. What the source does not tell counts nothing. `disliked` is best negative.
    """

    positive: float = 1.0
    watch: float = 0.0
    finished: float = 0.0
    liked: float = 0.0
    shared: float = 0.0
    followed: float = 0.0
    commented: float = 0.0
    disliked: float = 0.0
    rating: float = 0.0

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not any(weight for _, weight in self):
            raise ValueError("weights must have one that is not 0. Received: all 0")
        return self


class MultiTaskParams(LoopParams):
    """A multi-task ranker over what `retrievers` propose, `each` so many videos a viewer.

    `newest`: share of each viewer's positives that are learnt to be told from those before; one at least.
    `viewers`: who are learnt from, at most; `valid`: share of them that stop, calibrate and judge.
    `negatives`: drawn for each viewer from what was proposed in vain.
    `experts`: of width `expert_dim`, mixed for each task (MMoE); 1 is the shared bottom. `hidden`: width of a tower.
    `half_life_days`: days before a viewer's newest event at which an event counts half in interests.
    """

    retrievers: Retrievers = Retrievers()
    weights: TaskWeights = TaskWeights()
    each: Positive = 100
    newest: Annotated[float, Field(gt=0, lt=1)] = 0.2
    viewers: Annotated[int, Field(ge=2, le=LARGEST)] = 20_000
    valid: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    negatives: Positive = 30
    experts: Positive = 4
    expert_dim: Positive = 32
    hidden: Positive = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    half_life_days: Annotated[float, Field(gt=0)] = 30.0
    batch_size: Positive = 512
    epochs: Positive = 30
    patience: Positive = 4


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
    `jit_compile`: for GPUs; on CPU, XLA scatters one by one and takes six times as long.
    """

    dim: Positive = 64
    hidden: Positive = 128
    max_length: Positive = 50
    pooling: Literal["attention", "mean"] = "attention"
    half_life_days: Annotated[float, Field(gt=0)] | None = None
    id_dropout: Annotated[float, Field(ge=0, le=1)] = 0.8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 0.1
    learn_temperature: bool = True
    popularity_correction: Annotated[float, Field(ge=0, le=1)] = 1.0
    batch_size: Positive = 1024
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    epochs: Positive = 30
    patience: Positive = 4
    jit_compile: bool = False
    gpu_memory_growth: bool = True


class Candidates(Section):
    """Parameters of each candidate, under its name."""

    popularity: PopularityParams = PopularityParams()
    itemknn: ItemKnnParams = ItemKnnParams()
    ease: EaseParams = EaseParams()
    sasrec: SasRecParams = SasRecParams()
    content: ContentParams = ContentParams()
    twotower: TwoTowerParams = TwoTowerParams()
    userknn: UserKnnParams = UserKnnParams()
    hybridcf: HybridCfParams = HybridCfParams()
    ials: IalsParams = IalsParams()
    easemarkov: EaseMarkovParams = EaseMarkovParams()
    gru4rec: Gru4RecParams = Gru4RecParams()
    bert4rec: Bert4RecParams = Bert4RecParams()
    multitask: MultiTaskParams = MultiTaskParams()


class FrameSequenceParams(LoopParams):
    """Next frame from those before, by a recurrent network.

    `cell`: `gru` or `lstm`; `units`: length of its state; `dim`: principal components of frame features it reads.
    `window`: frames that are looked at; `stride`: frames of the kept sequence from one of them to the next.
    `codes`: size of the codebook of frames; `code_weight`: of the softmax's loss beside the regression's.
    `noise`: standard deviation of what disturbs components in training, theirs being 1 on average.
    """

    batch_size: Positive = 128
    cell: Literal["gru", "lstm"] = "gru"
    units: Positive = 64
    dim: Positive = 16
    window: Annotated[int, Field(ge=2, le=LARGEST)] = 4
    stride: Positive = 2
    codes: Annotated[int, Field(ge=2, le=LARGEST)] = 16
    code_weight: Annotated[float, Field(ge=0)] = 0.25
    noise: Annotated[float, Field(ge=0)] = 0.5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    epochs: Positive = 40


class TunedParams(LoopParams):
    """A pretrained encoder that goes on learning on the platform's own data.

    `task`: `category` tells which category a video is of, `watch` which videos a viewer watches one after another.
    `mode`: `frozen` trains a head over the encoder, `top` its last `layers` too, `full` all of it.
    `head_*`: of the head alone, with which each mode begins. `draws`: examples an epoch at most, drawn from all.
    `min_pairs`: pairs that each part must have for `watch`.
    `valid`, `held_out`: shares of the videos, by id.
    `margin`: how far a figure may lie below the pretrained encoder's.
    """

    task: Literal["category", "watch"] = "category"
    mode: Literal["frozen", "top", "full"] = "top"
    layers: Positive = 2
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    epochs: Positive = 4
    patience: Positive = 2
    head_learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    head_epochs: Positive = 40
    draws: Positive = 20_000
    min_pairs: Positive = 20
    valid: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    held_out: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    margin: Annotated[float, Field(ge=0)] = 0.01


class TunedTextParams(TunedParams):
    """A text encoder that goes on learning; `layers` are transformer layers.

    `max_tokens`: longer texts are cut while training. `min_texts`: categories with fewer texts are left out.
    """

    max_tokens: Annotated[int, Field(ge=8, le=512)] = 48
    min_texts: Positive = 10


class TunedFramesParams(TunedParams):
    """A frame encoder that goes on learning; `layers` are those with weights, a convolution for one.

    `pictures`: frames kept of each video, spread over its shots; `drawn`: how many of them a step looks at.
    `min_videos`: categories with fewer videos are left out.
    """

    layers: Positive = 4
    batch_size: Positive = 16
    draws: Positive = 2_000
    pictures: Positive = 8
    drawn: Positive = 2
    min_videos: Positive = 10


class AlignmentParams(LoopParams):
    """Contrastive projection heads over frame features and sound.

    `length`: frames of a view; a segment has twice as many. `dim`: of the vector, as many components are read.
    `cuts`: how often an epoch cuts all clips into segments anew; `sound_weight`: of the loss of frames against sound.
    `noise`: standard deviation of what disturbs components in training, theirs being 1 on average.
    """

    dim: Positive = 128
    hidden: Positive = 128
    length: Annotated[int, Field(ge=2, le=LARGEST)] = 4
    temperature: Annotated[float, Field(gt=0)] = 0.1
    sound_weight: Annotated[float, Field(ge=0)] = 0.25
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    noise: Annotated[float, Field(ge=0)] = 0.5
    cuts: Positive = 8
    epochs: Positive = 60


class ClipsParams(Section):
    """Clips that learners on video see.

    `fps`: frames a second; `views`: crops of each frame that are encoded too; the last but one stops, the last judges.
    `valid`, `held_out`: shares of each clip's end that stop and judge; `gap`: seconds left out before each.
    """

    fps: Annotated[float, Field(gt=0)] = 4.0
    views: Annotated[int, Field(ge=3, le=LARGEST)] = 12
    valid: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    held_out: Annotated[float, Field(gt=0, lt=0.5)] = 0.3
    gap: Annotated[float, Field(ge=0)] = 1.0


class Learn(Section):
    """Learners on video, and encoders that go on learning, each a stage of its own name."""

    clips: ClipsParams = ClipsParams()
    frame_sequence: FrameSequenceParams = FrameSequenceParams()
    alignment: AlignmentParams = AlignmentParams()
    tuned_text: TunedTextParams = TunedTextParams()
    tuned_frames: TunedFramesParams = TunedFramesParams()


class TagsParams(Section):
    """Tags for videos that lack them.

    `l2`: of the learnt tagger; `balance`: 1 gives each category the same weight however many videos it has, 0 each
    video. `temperature`: of zero-shot's softmax over cosines. `most`: tags a video; `min_score`: below it there is
    none. `min_videos`: categories of fewer videos are not learnt. `held_out`: share of labelled videos that judge.
    """

    l2: Annotated[float, Field(gt=0)] = 0.03
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 0.02
    most: Positive = 5
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_videos: Annotated[int, Field(ge=2, le=LARGEST)] = 5
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2


class RerankParams(Section):
    """What is done with the best of a model before they are shown.

    Attributes:
        pool: so many of the best, or as many as are asked for, a list is made of.
        diversity: 0 looks at scores alone, 1 at unlikeness to the videos above alone.
        per_author: most videos of one author in a list; None: any number.
        fresh_slots: places of a list that are fresh videos', where there are any.
        fresh_days: first seen or uploaded so many days before the newest event, or later, is fresh.
        explore_slots: last places, drawn among videos watched no more often than the median one.
    """

    pool: Annotated[int, Field(ge=1, le=1000)] = 100
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    per_author: Positive | None = None
    fresh_slots: Annotated[int, Field(ge=0)] = 0
    fresh_days: Annotated[float, Field(gt=0, le=36_500)] = 7.0
    explore_slots: Annotated[int, Field(ge=0)] = 0
