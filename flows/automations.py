"""What Prefect tells people by itself: of a flow run whose process was killed, so that it could tell nothing."""

import json
from datetime import timedelta
from typing import Any

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.types import SecretDict

from infra.notify import headers
from infra.settings import Settings

BLOCK = "nightreel-news"
CRASHED, SILENT = "nightreel: tell of a crashed flow run", "nightreel: a flow run that fell silent has crashed"
RUN = "prefect.flow-run"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
SILENT_SECONDS = 90  # three heartbeats, which a flow run sends every 30 s at most
SAID: dict[str, Any] = {
    "kind": "failure",
    "recommender": None,
    "at": "{{ event.occurred.isoformat() }}",
    "text": "{{ flow.name }}: the process of the flow run {{ flow_run.name }} ended without a word, or was killed",
    "facts": {"flow": "{{ flow.name }}", "flow_run": "{{ flow_run.name }}", "id": "{{ flow_run.id }}"},
}


async def make_automations(settings: Settings) -> list[str]:
    """Make or change the automations that lead to `settings.notify_url`; their names, none without an address."""
    if settings.notify_url is None:
        return []
    block = Webhook(url=settings.notify_url, headers=SecretDict(headers(settings)))
    block_id = await block.save(BLOCK, overwrite=True)
    everything = ResourceSpecification({"prefect.resource.id": f"{RUN}.*"})
    per_run = {"match": everything, "for_each": {"prefect.resource.id"}, "threshold": 1}
    crashed = EventTrigger(expect={f"{RUN}.Crashed"}, posture=Posture.Reactive, **per_run)
    silent = EventTrigger(
        after={f"{RUN}.heartbeat"},
        expect={f"{RUN}.heartbeat", *(f"{RUN}.{end}" for end in ENDS)},
        posture=Posture.Proactive,
        within=timedelta(seconds=SILENT_SECONDS),
        **per_run,
    )
    tell = CallWebhook(block_document_id=block_id, payload=json.dumps(SAID))
    crash = ChangeFlowRunState(name=None, state=StateType.CRASHED, message="No heartbeat: its process was killed.")
    made = [
        Automation(name=CRASHED, trigger=crashed, actions=[tell]),
        Automation(name=SILENT, trigger=silent, actions=[crash]),
    ]
    return [await _put(each) for each in made]


async def _put(wanted: Automation) -> str:
    try:
        wanted.id = (await Automation.aread(name=wanted.name)).id
    except ValueError:  # there is none yet
        await wanted.acreate()
    else:
        await wanted.aupdate()
    return wanted.name
