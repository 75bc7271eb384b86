"""A real HTTP server that takes OpenLineage events, or fails to, and a reader that only takes sound events."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.serde import Serde


@dataclass
class Collector:
    """What came to a server.

    Attributes:
        status: what it answers; None: nothing, for as long as the server lives.
        seconds: how long each answer takes.
    """

    status: int | None = 201
    seconds: float = 0.0
    url: str = ""
    posts: list[tuple[str, Mapping[str, str], dict[str, Any]]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that came."""
        return [body for _, _, body in self.posts]


@contextmanager
def collecting(status: int | None = 201, *, seconds: float = 0.0) -> Iterator[Collector]:
    """A server on loopback that answers each POST with `status`, or never."""
    collector = Collector(status, seconds)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            collector.posts.append((self.path, dict(self.headers), body))
            collector.over.wait(collector.seconds if collector.status else None)
            if collector.status:
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            collector.over.set()
            server.shutdown()
            thread.join()


def events_in(file: Path) -> list[dict[str, Any]]:
    """The events of a file, each of which the client's own classes take as it is."""
    return [checked(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """`event`, once the official classes have taken it to pieces and written the same again."""
    parsed = RunEvent(
        eventTime=event["eventTime"],
        eventType=RunState(event["eventType"]),
        producer=event["producer"],
        run=Run(**event["run"]),
        job=Job(**event["job"]),
        inputs=[InputDataset(**dataset) for dataset in event["inputs"]],
        outputs=[OutputDataset(**dataset) for dataset in event["outputs"]],
    )
    assert Serde.to_dict(parsed) == event
    datasets = [*event["inputs"], *event["outputs"]]
    facets = [facet for part in (event["run"], *datasets) for facet in part["facets"].values()]
    assert all(facet["_producer"] == "urn:nightreel:night" and facet["_schemaURL"] for facet in facets)
    return event


def told(event: Mapping[str, Any]) -> tuple[str, str]:
    """An event in short: the job and what became of it."""
    return event["job"]["name"], event["eventType"]


def versions(datasets: list[dict[str, Any]]) -> dict[str, str]:
    """Version by name."""
    return {dataset["name"]: dataset["facets"]["version"]["datasetVersion"] for dataset in datasets}
