"""What differs between a record and what is found now, each difference by its name."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from lineage.tensors import Verdict, compare_files, is_tensor_file


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(_Frozen):
    """A value that is not as recorded; None: there is none."""

    what: str
    recorded: str | None
    now: str | None

    def __str__(self) -> str:
        return f"{self.what}: {_shown(self.now)}, recorded {_shown(self.recorded)}"


class FileDifference(_Frozen):
    """A file that is not as recorded. `same_content`: its bytes differ, and neither rows nor values do."""

    file: str
    how: str
    same_content: bool = False

    @property
    def verdict(self) -> Verdict:
        """What the difference amounts to."""
        return "within tolerance" if self.same_content else "different"

    def __str__(self) -> str:
        return f"{self.file} {self.how}"


def tree_differences(recorded: object, now: object, *, at: str = "") -> list[Difference]:
    """Differences of two JSON trees, each named by its dotted key; a list counts as one value."""
    if isinstance(recorded, Mapping) and isinstance(now, Mapping):
        keys = sorted(recorded.keys() | now.keys())
        below = ((f"{at}.{key}" if at else str(key), recorded.get(key), now.get(key)) for key in keys)
        return [found for key, before, after in below for found in tree_differences(before, after, at=key)]
    if recorded == now:
        return []
    return [Difference(what=at, recorded=_text(recorded), now=_text(now))]


def file_difference(name: str, *, recorded: Path, now: Path) -> FileDifference:
    """How the file `now` differs from `recorded`, given that their digests do."""
    how = _changed(recorded, now)
    return FileDifference(file=name, how=f"differs: {how}", same_content=how.startswith("same "))


def _changed(recorded: Path, now: Path) -> str:
    try:
        if now.suffix == ".parquet":
            return _changed_rows(pl.read_parquet(recorded), pl.read_parquet(now))
        if now.suffix == ".json":
            found = tree_differences(json.loads(recorded.read_bytes()), json.loads(now.read_bytes()))
            return "; ".join(map(str, found)) or "same values, other bytes"
        if is_tensor_file(now):
            return "; ".join(difference.how for difference in compare_files(recorded, now)[1])
    except (pl.exceptions.PolarsError, ValueError, OSError) as error:
        return f"it cannot be read any more ({' '.join(str(error).split())})"
    return f"{now.stat().st_size:,} bytes, recorded {recorded.stat().st_size:,}"


def _changed_rows(recorded: pl.DataFrame, now: pl.DataFrame) -> str:
    if recorded.schema != now.schema:
        types = [str(found) for found in tree_differences(_types(recorded), _types(now))]
        return f"other columns or types: {'; '.join(types) or 'their order'}"
    if recorded.height != now.height:
        return f"{now.height:,} rows, recorded {recorded.height:,}"
    unequal = [now[column].ne_missing(recorded[column]).to_numpy() for column in now.columns]
    changed = int(np.count_nonzero(np.any(unequal, axis=0))) if unequal else 0
    if not changed:
        return "same rows, other bytes"
    columns = ", ".join(column for column, differs in zip(now.columns, unequal, strict=True) if differs.any())
    return f"{changed:,} row{'s' if changed > 1 else ''} of {now.height:,} changed ({columns})"


def _types(table: pl.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in table.schema.items()}


def _text(value: object) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True).strip('"')


def _shown(value: str | None) -> str:
    return "none" if value is None else value
