"""The data contract: tables, columns and their types, named once.

All times are UTC. Ids are `Int64` or `String`, the same type in every file of one source.
"""

from typing import ClassVar

import polars as pl

TIMESTAMP = pl.Datetime("ms", "UTC")


class Events:
    """One row a watch event. The first three columns must be there."""

    USER = "user_id"
    VIDEO = "video_id"
    TIME = "timestamp"
    WATCH_SECONDS = "watch_seconds"
    LIKED = "liked"
    DISLIKED = "disliked"
    FOLLOWED = "followed"
    COMMENTED = "commented"
    SHARED = "shared"
    RATING = "rating"
    REGION = "region"
    DEVICE = "device"
    DAY = "day"  # the partition a row landed in, pl.Date; added by the readers, no part of the contract
    REQUIRED = (USER, VIDEO, TIME)
    OPTIONAL: ClassVar[dict[str, pl.DataType]] = {
        WATCH_SECONDS: pl.Float64(),
        LIKED: pl.Boolean(),
        DISLIKED: pl.Boolean(),
        FOLLOWED: pl.Boolean(),
        COMMENTED: pl.Boolean(),
        SHARED: pl.Boolean(),
        RATING: pl.Float64(),
        REGION: pl.String(),
        DEVICE: pl.String(),
    }


class Videos:
    """One row a video. Only the id must be there."""

    ID = "video_id"
    TITLE = "title"
    DESCRIPTION = "description"
    TAGS = "tags"
    COVER_TEXT = "cover_text"
    CATEGORY = "category"
    DURATION_SECONDS = "duration_seconds"
    UPLOADED_AT = "uploaded_at"
    AUTHOR = "author_id"
    MEDIA = "media"
    MEDIA_DIGEST = "media_digest"  # this and NOTES are added by `encode`, no part of the contract
    NOTES = "notes"
    REQUIRED = (ID,)
    OPTIONAL: ClassVar[dict[str, pl.DataType]] = {
        TITLE: pl.String(),
        DESCRIPTION: pl.String(),
        TAGS: pl.List(pl.String()),
        COVER_TEXT: pl.String(),
        CATEGORY: pl.String(),
        DURATION_SECONDS: pl.Float64(),
        UPLOADED_AT: TIMESTAMP,
        AUTHOR: pl.String(),
        MEDIA: pl.String(),
    }


class Users:
    """One row a user: the id and any attributes."""

    ID = "user_id"
    REQUIRED = (ID,)


TABLES = ("events", "videos", "users")
