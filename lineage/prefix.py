"""A release by the first characters of its id, as people name it."""

from collections.abc import Iterable

from infra.errors import BadInput


def release_by_prefix(prefix: str, known: Iterable[str], *, where: str) -> str:
    """The one release of `known` whose id starts with `prefix`.

    Args:
        prefix: the whole id, or its first characters.
        known: ids of releases; one may come several times.
        where: whose releases these are, as the error says it: `of movielens`.

    Raises:
        BadInput: none starts so, or several do.
    """
    found = {release for release in known if release.startswith(prefix)}
    if len(found) != 1:
        what = "Several releases" if found else "No release"
        raise BadInput(f"{what} {where} with an id that starts so. Received: {prefix!r}")
    return found.pop()
