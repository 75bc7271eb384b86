"""Times and days as people read them."""

from collections.abc import Sequence


def minute(at: str | None) -> str:
    """A time (ISO 8601) to the minute; nothing for None."""
    return (at or "")[:16].replace("T", " ")


def span(days: Sequence[str]) -> str:
    """`2016-10-13 to 2016-10-16 (4 days)`: a log of years has thousands."""
    if len(days) < 2:
        return "".join(days)
    return f"{days[0]} to {days[-1]} ({len(days):,} days)"
