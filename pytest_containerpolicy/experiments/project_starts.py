"""A start of a whole Compose project, by what the daemon's events tell of it."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from operator import itemgetter
from threading import Thread
from typing import Any, Self

from msgspec import Struct, field

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_NANOSECONDS = 1e9
_END_SECONDS = 10.0


class ServiceStart(Struct, kw_only=True):
    """How one service came up; seconds since the project began to.

    `healthy` is None if no health check said so; `ends` are the times and exit codes of containers
    that ended. `is_well`: all of its containers that ran before do, and are healthy.
    """

    service: str
    started: float | None = None
    healthy: float | None = None
    ends: list[tuple[float, int]] = field(default_factory=list)
    is_well: bool = False

    def met(self, condition: str) -> float | None:
        """When a condition of `depends_on` was met; None if it never was."""
        if condition == "service_healthy":
            return self.healthy
        if condition == "service_completed_successfully":
            return next((at for at, code in self.ends if code == 0), None)
        return self.started

    def __str__(self) -> str:
        parts = [f"started {self.started:.1f} s"] if self.started is not None else ["not started"]
        parts += [f"healthy {self.healthy:.1f} s"] if self.healthy is not None else []
        parts += [f"ended {at:.1f} s (exit {code})" for at, code in self.ends]
        return f"{self.service}: {', '.join(parts)}"


class ProjectStart(Struct, frozen=True, kw_only=True):
    """One start of a project: its services by name, and why `docker compose up` failed, if so."""

    project: str
    services: dict[str, ServiceStart]
    problem: str = ""

    def __str__(self) -> str:
        ordered = sorted(self.services.values(), key=lambda one: one.started or 0)
        lines = [f"start of project {self.project}:", *(f"  {one}" for one in ordered)]
        return "\n".join(lines)


def daemon_time(lab: DockerLab) -> str:
    """The daemon's clock, as its events API takes it: seconds, a dot and nanoseconds."""
    with daemon_errors("info"):
        text = str(lab.client.api.info()["SystemTime"])
    seconds = datetime.fromisoformat(text).replace(microsecond=0).timestamp()
    fraction = text.partition(".")[2][:9].rstrip("Z+-:")
    digits = "".join(letter for letter in fraction if letter.isdigit())
    return f"{seconds:.0f}.{digits:0<9}"


class StartEvents:
    """The starts, ends and health of a project's containers in the block, `since` a daemon's time.

    They are kept as they come: the daemon itself remembers the last 256 of all its events, and one
    health check makes three.
    """

    def __init__(self, lab: DockerLab, project: str, since: str) -> None:
        self._lab, self._since = lab, since
        self._filters = {
            "type": "container",
            "label": f"{PROJECT}={project}",
            "event": ["start", "die", "health_status"],
        }
        self._found: dict[tuple[int, str, str], Document] = {}
        self._was_cut = False

    def __enter__(self) -> Self:
        with daemon_errors("events"):
            self._stream = self._events()
        self._thread = Thread(target=self._keep, args=(self._stream,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._was_cut = not self._thread.is_alive()
        with daemon_errors("events"):
            self._stream.close()
        self._thread.join(_END_SECONDS)

    def in_order(self) -> list[Document]:
        """All of them, after the block. Raises `CannotLook` if some may be missing."""
        if self._was_cut:
            raise CannotLook("events: the daemon ended the connection: the start was not seen")
        with daemon_errors("events"):
            # Of the very last ones the stream may not have brought all.
            self._keep(self._events(until=daemon_time(self._lab)))
        return sorted(self._found.values(), key=itemgetter("timeNano"))

    def _events(self, until: str | None = None) -> Any:
        api: Any = self._lab.client.api
        return api.events(since=self._since, until=until, filters=self._filters, decode=True)

    def _keep(self, events: Iterable[Document]) -> None:
        for event in events:
            self._found[event["timeNano"], event["Actor"]["ID"], event["Action"]] = event


def services_started(events: Iterable[Document], since: str) -> dict[str, ServiceStart]:
    """What became of each service of a project since some time of the daemon, from its events."""
    found: dict[str, ServiceStart] = {}
    for at, service, action, attributes in _relevant(events, float(since)):
        start = found.setdefault(service, ServiceStart(service=service))
        if action == "start" and start.started is None:
            start.started = at
        elif action == "health_status: healthy" and start.healthy is None:
            start.healthy = at
        elif action == "die":
            start.ends.append((at, int(attributes.get("exitCode", -1))))
    return found


def _relevant(
    events: Iterable[Document], since: float
) -> Iterator[tuple[float, str, str, dict[str, str]]]:
    for event in events:
        attributes = event["Actor"]["Attributes"]
        is_oneoff = attributes.get("com.docker.compose.oneoff") == "True"
        if SERVICE in attributes and not is_oneoff:
            at = event["timeNano"] / _NANOSECONDS - since
            yield at, attributes[SERVICE], event["Action"], attributes
