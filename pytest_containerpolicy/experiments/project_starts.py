"""A start of a whole Compose project, by what the daemon's events tell of it."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_NANOSECONDS = 1e9


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


def services_started(
    lab: DockerLab, project: str, since: str, until: str
) -> dict[str, ServiceStart]:
    """What became of each service of a project between two times of the daemon."""
    filters = {"type": "container", "label": f"{PROJECT}={project}"}
    with daemon_errors("events"):
        api: Any = lab.client.api
        events = list(api.events(since=since, until=until, filters=filters, decode=True))
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
