"""Which releases are kept: the live one, the last that were live, those on hold, young ones, and what they need."""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta

YOUNG = timedelta(days=7)  # a release that never went live may still be promoted, and a killed night run again


def kept(
    lives: Sequence[str],
    stored: Mapping[str, datetime],
    *,
    keep: int,
    held: Set[str],
    trained: Mapping[str, str],
    now: datetime,
) -> dict[str, str]:
    """Why each release is kept; one that is not named is not.

    Args:
        lives: the releases of the ledger's entries, oldest first, repeated where one was live again.
        stored: when each release that is not retired was stored.
        keep: how many of those that were live last are kept beside the live one.
        held: releases on legal hold.
        trained: by refreshed release the one whose night trained the model that it serves.
        now: the present, UTC.

    Returns:
        By release `live`, `was live`, `hold`, `young` or `needed by RELEASE`, the first of these that holds.
    """
    found: dict[str, str] = {}
    latest = [release for release in dict.fromkeys(reversed(lives)) if release in stored]
    if lives and latest[:1] == [lives[-1]]:
        found[latest.pop(0)] = "live"
    found |= dict.fromkeys(latest[:keep], "was live")
    found |= {release: "hold" for release in stored if release in held and release not in found}
    young = (one for one, at in stored.items() if one not in lives and now - at < YOUNG)
    found |= {release: "young" for release in young if release not in found}
    for release in list(found):
        if (source := trained.get(release, release)) in stored:
            found.setdefault(source, f"needed by {release[:12]}")
    return found
