"""What the services of a stack ask for, generated once."""

import secrets
from dataclasses import dataclass, fields

USER = "nightreel"


@dataclass(frozen=True, repr=False)
class Credentials:
    """One secret a door; the user's name is `USER` at all of them. Never shown, logged or put on a command line."""

    postgres: str
    s3_access_key: str
    s3_secret_key: str
    s3_inside: str
    mlflow: str
    mlflow_cookies: str
    prefect: str
    supervisor: str

    @classmethod
    def generate(cls) -> "Credentials":
        """New ones, 192 bits each, of letters and digits alone, so that no file or URL has to escape them."""
        return cls(**{each.name: secrets.token_hex(24) for each in fields(cls)})
