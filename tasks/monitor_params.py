"""The section `monitor` of `params.yaml`: what the live release is held against while it is live."""

from typing import Annotated, Literal

from pydantic import Field

from models.params import Positive, Section

Share = Annotated[float, Field(ge=0, le=1)]
Above = Annotated[float, Field(gt=0)]


class Rollback(Section):
    """When the live release is taken back without a person.

    Attributes:
        metric: what is looked at, such as `ndcg@10`; None: `evaluate.primary` of the release.
        below: share of the reference that the metric must not fall below.
        reference: `popularity` on the same viewers and days, or the control chart's `centre`.
        windows: how many windows in a row must break the bound.
    """

    metric: str | None = None
    below: Above
    reference: Literal["popularity", "centre"] = "popularity"
    windows: Positive = 3


class Monitor(Section):
    """Bounds of drift, of the control chart, and of the rollback.

    A bound of drift is the one given here, or more where chance alone (`significance`) or the days of the training
    data among themselves (`usual_days`) exceed it.

    Attributes:
        min_viewers: days with fewer judged viewers are joined with the next.
        max_psi: population stability index of a feature of events.
        max_js: Jensen-Shannon divergence of it, in bits.
        max_new_videos: share of events whose video was not in the training data.
        max_video_shift: 1 - cosine between the mean content vectors of new and of trained videos.
        max_coverage_loss: share of the distinct videos in lists that is lost since training.
        max_popularity_shift: change of the mean popularity rank (0 rarest, 1 most watched) of what lists hold.
        max_concentration_shift: change of the Gini coefficient of how often videos are listed.
        significance: of the tests behind chance.
        usual_days: newest days of the training data that tell what is usual.
        baseline_windows: windows that the control chart learns its centre from.
        sigmas: width of its limits.
        rollback: None: a person decides.
    """

    min_viewers: Annotated[int, Field(ge=2)] = 50
    max_psi: Above = 0.2
    max_js: Share = 0.05
    max_new_videos: Share = 0.5
    max_video_shift: Annotated[float, Field(ge=0, le=2)] = 0.1
    max_coverage_loss: Share = 0.3
    max_popularity_shift: Share = 0.1
    max_concentration_shift: Share = 0.1
    significance: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    usual_days: Positive = 14
    baseline_windows: Annotated[int, Field(ge=3)] = 7
    sigmas: Above = 3.0
    rollback: Rollback | None = None
