"""A night as soon as a partition is there that no night has landed."""

from typing import cast

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from flows.leased import books_of, day_of
from flows.outcome import Request
from lineage.holding import is_at_work
from lineage.lease import Leases
from lineage.runs import newest_records
from tasks.events import created
from tasks.landing import open_reader
from tasks.unlanded import batch_id, told_of_new, unlanded


@flow(name="arrivals", flow_run_name="arrivals-{request.source}", persist_result=False)
def watch_arrivals(request: Request, events: str | None = None) -> str | None:
    """Look once, and start the nightly deployment of the source when something new has come; the name of its run.

    Nothing is started while a night is at work. Prefect starts one run for one set of new files, however often it is
    asked, so a night that refuses them is not started again until others come.

    Args:
        request: the source.
        events: S3's event notifications, a file or `s3://bucket/prefix`: the source is listed only when they tell of
            something new. None: it is listed each time.
    """
    books = books_of(request)
    if is_at_work(Leases(books.store, books.name), books.settings):
        return None  # it may have landed what is new; the next look tells
    records = newest_records(books.store, books.name)  # the newest night knows all that landed before it
    if events and not told_of_new(created(events, books.settings), records, location=str(request.path)):
        return None
    new = unlanded(open_reader(request.source, request.path, books.settings), records, today=day_of(request))
    if not new:
        return None
    days = sorted({str(file.day) for file in new})
    nights = f"nightly/nightly-{request.source}"
    run = cast(FlowRun, run_deployment(nights, timeout=0, as_subflow=False, idempotency_key=batch_id(new)))
    get_run_logger().info("%d new files, of %s to %s: night %s", len(new), days[0], days[-1], run.name)
    return run.name
