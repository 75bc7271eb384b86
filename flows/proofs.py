"""The auditor's proofs by the clock: a run that fails is the alarm, and its message says what does not hold."""

from contextlib import chdir

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from flows.live import Live
from flows.verify import ALL, Verification, verify
from infra.errors import Refused
from infra.settings import Settings, git_common_dir
from infra.stores import open_store
from lineage.ledger import recommenders
from lineage.reproduce import reproduce
from lineage.reproduction import Reproduction


@flow(name="verify", flow_run_name="verify-{name}", persist_result=False)
def verify_all(root: str, name: str | None = None) -> Verification | None:
    """Prove all releases, nights and ledger entries again from the bytes; None while nothing is live.

    Args:
        root: the checkout.
        name: of the recommender; None: the only one.

    Raises:
        Refused: something does not hold.
    """
    with chdir(root):
        if not _is_live(name):
            return None
        done = verify(Live.open(name), ALL)
    get_run_logger().info(
        "%d releases, %d nights, %d entries looked at, by %s", done.releases, done.nights, done.entries, done.signature
    )
    if not done.findings:
        return done
    create_table_artifact([finding.model_dump() for finding in done.findings], key="findings", description=done.name)
    first = done.findings[0]
    raise Refused(
        f"{len(done.findings)} things do not hold for {done.name}, first: {first.kind} {first.what}: {first.fault} All "
        "of them: `nightreel audit verify`."
    )


@flow(name="reproduce", flow_run_name="reproduce-{name}", persist_result=False)
def reproduce_champion(root: str, name: str | None = None) -> Reproduction | None:
    """Rebuild the live release from its recorded data and compare it bit by bit; None while nothing is live.

    Args:
        root: the checkout.
        name: of the recommender; None: the only one.

    Raises:
        Refused: it comes out otherwise than recorded, and the record does not explain why.
    """
    with chdir(root):
        if not _is_live(name):
            return None
        live = Live.open(name)
        result = reproduce(live.head.release, live.books, repository=git_common_dir())
    get_run_logger().info("release %s, rebuilt: %s", result.release[:12], result.verdict)
    if result.reproduced:
        return result
    why = " ".join(result.unexplained) or "Models, metrics or the index differ by more than rounding does."
    raise Refused(
        f"The live release {result.release[:12]} of {result.name} was not reproduced ({result.verdict}): {why} Each "
        f"difference: `nightreel audit reproduce {result.release[:12]}`."
    )


def _is_live(name: str | None) -> bool:
    settings = Settings()
    known = recommenders(open_store(settings.store_url, settings))
    there = bool(known) if name is None else name in known
    if not there:
        get_run_logger().info("nothing is live yet, so there is nothing to prove")
    return there
