"""One step of a night, in the work pool `gpu`; it lives no longer than the night that asked for it."""

from prefect import flow, get_run_logger

from flows.relay import relayed
from infra.checkout import Checkout, is_at_work
from infra.errors import Refused
from infra.locks import locked
from infra.orphans import ending_unless
from infra.pipeline import pipeline_of
from infra.settings import Settings


@flow(name="step", persist_result=False)
def step(run: str, stage: str) -> bool:
    """Bring one DVC stage of a run up to date; True when its command ran.

    Raises:
        Refused: no night is at work on the run.
        NightreelError: what the step said when it failed.
    """
    settings = Settings(home=Settings().home_dir)
    folder = settings.home_dir / "runs" / run
    checkout = Checkout(folder / "checkout", folder)
    if folder.parent.resolve() != settings.home_dir / "runs" or not folder.is_dir() or not is_at_work(folder):
        raise Refused(f"No night is at work on the run {run}.")
    with (
        ending_unless(lambda: is_at_work(folder)),
        locked(checkout.gpu_lock),
        relayed(checkout.log(stage), get_run_logger()),
        pipeline_of(checkout, settings) as pipeline,
    ):
        return pipeline.reproduce(stage)
