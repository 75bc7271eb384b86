"""One recommender's ledger and releases, as this machine may read and write them."""

from dataclasses import dataclass
from functools import cached_property

from infra.settings import Settings
from infra.stores import ObjectStore, open_store
from lineage.keys import signer, trust
from lineage.ledger import Ledger
from lineage.releases import Releases
from lineage.signing import Signer, Trust
from lineage.witness import Witness


@dataclass(frozen=True)
class Books:
    """The books of the recommender `name`.

    Attributes:
        settings: where the store lies, and whose keys sign and count.
        require_signature: whether what lacks a trusted signature is refused when it is to be loaded.
    """

    settings: Settings
    name: str
    require_signature: bool

    @cached_property
    def store(self) -> ObjectStore:
        """The release store."""
        return open_store(self.settings.store_url, self.settings)

    @cached_property
    def signer(self) -> Signer:
        """The key that signs what this machine adds."""
        return signer(self.settings)

    @cached_property
    def trust(self) -> Trust:
        """The keys whose signatures count."""
        return trust(self.settings, required=self.require_signature)

    @cached_property
    def ledger(self) -> Ledger:
        """What went live, when, by whom and why."""
        witness = Witness(self.settings.home_dir / "witness")
        return Ledger(self.store, self.name, signer=lambda: self.signer, trust=self.trust, witness=witness)

    @cached_property
    def releases(self) -> Releases:
        """The releases, with verified local copies under the home folder."""
        return Releases(self.store, self.settings.home_dir / "releases", trust=self.trust)
