"""What guards networks that somebody brings: no pickle, and whatever their loader raises becomes one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PICKLES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})


def pickle_in(folder: Path, kinds: frozenset[str] = PICKLES) -> Path | None:
    """The first file of `folder`, at any depth, of one of `kinds`, which may be pickles: to load one runs its code."""
    return next((file for file in sorted(folder.rglob("*")) if file.suffix.lower() in kinds), None)


@contextmanager
def loading(failed: str, *, received: str = "") -> Iterator[None]:
    """Around another library's loader.

    Raises:
        ValueError: `failed`, the first line of what was raised in the block, and what was `received`. That line may be
            of an error of any kind: Keras raises what its layers raise, and tokenizers bare exceptions.
    """
    try:
        yield
    except Exception as error:
        said = next(iter(str(error).strip().split("\n")), "") or type(error).__name__
        raise ValueError(f"{failed}: {said}" + (f". Received: {received}" if received else "")) from error
