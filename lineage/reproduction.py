"""What came of rebuilding a release: each difference by its name, and whether it is explained."""

from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from lineage.differences import Difference, FileDifference
from lineage.tensors import TENSOR_TOLERANCE, TensorDifference, Verdict, worst

# A primary metric may move by this much, absolutely: a list or two in a thousand, which rounding in other places gives.
METRIC_TOLERANCE = 1e-3


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Frozen):
    """A model or an index, recorded and rebuilt.

    Attributes:
        recorded, rebuilt: whether there is one.
        failed: why the step that makes it failed now, None where it did not.
        tensors: how many were compared.
        differences: tensors that are not bit-equal.
        files: files beside them that are not equal.
    """

    recorded: bool
    rebuilt: bool
    failed: str | None = None
    tensors: int = 0
    differences: tuple[TensorDifference, ...] = ()
    files: tuple[FileDifference, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        """Bit-equal where all is, or where it failed in the run as it fails now."""
        if self.recorded != self.rebuilt:
            return "different"
        return worst(*(tensor.verdict for tensor in self.differences), *(file.verdict for file in self.files))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def equal(self) -> bool:
        """Whether every tensor is bit-equal."""
        return self.verdict == "bit-equal"


class Metric(_Frozen):
    """The primary metric of one candidate; None where it has none."""

    name: str
    recorded: float | None
    rebuilt: float | None

    @property
    def verdict(self) -> Verdict:
        """Against `METRIC_TOLERANCE`."""
        if self.recorded == self.rebuilt:
            return "bit-equal"
        difference = self.difference
        return "within tolerance" if difference is not None and abs(difference) <= METRIC_TOLERANCE else "different"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> float | None:
        """How far it moved."""
        return None if self.recorded is None or self.rebuilt is None else self.rebuilt - self.recorded


class Candidate(_Frozen):
    """One candidate's model and metric."""

    name: str
    model: Side
    metric: Metric

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        """The worse of model and metric."""
        return worst(self.model.verdict, self.metric.verdict)


class Reproduction(_Frozen):
    """A release, rebuilt.

    Attributes:
        refreshed: the release that was asked for, where that is one with new videos for the model of `release`.
        run_commit: the commit of the run that made the release.
        commit: whose code and parameters the rebuild took; `requested`: somebody asked for another one.
        environment: packages, Python, devices that are not as recorded.
        params, code: dotted keys and files of code that are not as recorded.
        data: stored files that are not as the release recorded them.
        prepared: files that preparing the stored snapshot again made otherwise.
        candidates: every candidate of the record and of `commit`.
        challenger: given where another candidate is best now.
    """

    release: str
    refreshed: str | None = None
    name: str
    run_commit: str
    commit: str
    requested: bool
    environment: tuple[Difference, ...]
    params: tuple[Difference, ...]
    code: tuple[str, ...]
    data: tuple[FileDifference, ...]
    prepared: tuple[FileDifference, ...]
    candidates: tuple[Candidate, ...]
    challenger: Difference | None
    index: Side

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        """The worst of everything that was rebuilt."""
        parts = [*(file.verdict for file in self.prepared), *(candidate.verdict for candidate in self.candidates)]
        return "different" if self.challenger else worst(*parts, self.index.verdict)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unexplained(self) -> tuple[str, ...]:
        """What should not be, whatever the tensors say: each a sentence."""
        found = [f"{file}, although the release names its digest." for file in self.data]
        if not self.requested and self.code:
            found.append("The run's commit holds other code than the release records.")
        if not self.requested and self.params:
            found.append("The run's commit holds other parameters than the release records.")
        if self.verdict == "within tolerance" and not (self.environment or self.code or self.params):
            found.append(
                "Nothing recorded of environment, code and parameters differs, and yet numbers do. "
                "The kind of processor is not recorded."
            )
        return tuple(found)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reproduced(self) -> bool:
        """Bit-equal, or within tolerance and explained; and the data as recorded."""
        return self.verdict != "different" and not self.unexplained

    def as_row(self) -> dict[str, Any]:
        """The result as plain JSON types, with the tolerances that it was judged by."""
        tolerance = {"tensor": TENSOR_TOLERANCE, "metric": METRIC_TOLERANCE}
        return self.model_dump(mode="json") | {"tolerance": tolerance}
