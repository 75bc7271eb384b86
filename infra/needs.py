"""What a step needs of the machine that runs it, as `dvc.yaml` declares it in the step's `meta`."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil
import yaml
from pydantic import BaseModel, ConfigDict

from infra.errors import BadInput

CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use


class Needs(BaseModel):
    """What a step needs.

    Attributes:
        pool: `gpu` when the step gains from one and goes there where there is one, else `cpu`.
        memory_gb: below this much memory, in GB, it is not worth starting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: Literal["cpu", "gpu"] = "cpu"
    memory_gb: float = 0

    @classmethod
    def of(cls, stage: str, pipeline: Path) -> "Needs":
        """The needs of the DVC stage `stage`, such as `train@sasrec`, in the `dvc.yaml` at `pipeline`."""
        with pipeline.open(encoding="utf-8") as file:
            stages = yaml.load(file, Loader=yaml.CSafeLoader)["stages"]
        return cls.model_validate(stages[stage.partition("@")[0]].get("meta", {}).get("needs", {}))

    def require_memory(self, stage: str) -> None:
        """Raise `BadInput` when this machine has less memory than `stage` needs."""
        here = memory_gb()
        if here < self.memory_gb:
            raise BadInput(
                f"Step {stage} needs {self.memory_gb:g} GB of memory, as its needs in dvc.yaml say. "
                f"This machine has {here:.1f} GB."
            )


def memory_gb() -> float:
    """The memory of this machine, or of the container that this process is in, in GB."""
    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # there is none, or it is `max`
        total = min(total, int(CONTROL_GROUP.read_text(encoding="ascii")))
    return total / 1e9
