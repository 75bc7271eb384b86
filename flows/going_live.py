"""How a release goes live from any command or flow: proven, entered in the ledger, mirrored in MLflow."""

from infra.checkout import IN_USE
from infra.locks import locked
from infra.registry import Registry
from lineage.books import Books
from lineage.ledger import Draft, Entry
from lineage.promotion import go_live
from tasks.recommend import Bundle


def make_live(draft: Draft, books: Books, registry: Registry, *, after: Entry | None) -> Entry:
    """Prove the ledger, open the draft's release, have it answer a viewer, and make it the live one; its entry.

    Raises:
        Refused: it cannot be loaded or does not answer, or another went live since `after` (`LostRace`).
    """
    with locked(books.settings.home_dir / IN_USE, shared=True):
        books.ledger.proven_head()
        candidate = books.releases.manifest(draft.release).candidate
        entry = go_live(
            books.ledger,
            books.releases,
            draft,
            after=after,
            check=lambda folder: Bundle(folder, candidate).answer_somebody(),
        )
    books.ledger.proven_head()  # so that the witness knows of the new entry
    registry.mirror_once("champion", entry.model_version, seq=entry.seq)
    return entry
