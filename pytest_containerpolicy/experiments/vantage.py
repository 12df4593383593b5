"""Traffic to a workload from where its clients are, or from as near as this run may come.

with traffic_to(workload, lab) as traffic:
    ...
    measurement = traffic.stop()
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import docker_vantage, kubernetes_vantage
from pytest_containerpolicy.experiments.background import repeated
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.measurement import Measurement
from pytest_containerpolicy.experiments.reach import Found, Probe, ask
from pytest_containerpolicy.experiments.traffic import (
    MOST_REQUESTS,
    Plan,
    Progress,
    Traffic,
    start,
)
from pytest_containerpolicy.experiments.viewpoint import Choice, Viewpoint, likely_paths
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.vocabulary import LEVELS

# By platform: (workload, lab, choice) -> the viewpoint, as long as the block lasts.
VIEWPOINTS: dict[str, Callable[..., AbstractContextManager[Viewpoint]]] = {
    "kubernetes": kubernetes_vantage.viewpoint,
    "docker": docker_vantage.viewpoint,
    "compose": docker_vantage.viewpoint,
    "swarm": docker_vantage.viewpoint,
}
SETTLE = 3.0
# A prober's pod ends by itself soon after.
_LONGEST = 1700.0
_FEWEST = 20
_FAILED = 400
_ATTEMPTS = 3
_REPORT_SECONDS = 10.0


@contextmanager
def traffic_to(
    workload: Workload,
    lab: Lab,
    *,
    rate: float = 50,
    url: str = "",
    vantage: Choice = "auto",
    path: str = "",
) -> Iterator[Traffic]:
    """Traffic to a workload while the block lasts; see `viewpoint_of` and `traffic_from`."""
    with (
        viewpoint_of(workload, lab, url=url, vantage=vantage) as viewpoint,
        traffic_from(viewpoint, workload, lab, rate=rate, path=path) as traffic,
    ):
        yield traffic


@contextmanager
def viewpoint_of(
    workload: Workload, lab: Lab, *, url: str = "", vantage: Choice = "auto"
) -> Iterator[Viewpoint]:
    """Where to measure from: this machine for `url` or the one that the user gave for the workload,
    else where the platform's own clients are.

    Raises `CannotLook` if that is not to be had.
    """
    given = url or lab.url_of(workload)
    if vantage == "url" and not given:
        raise CannotLook(
            f"{workload.ref}: no URL is known: give it with --cp-url"
            f" {workload.ref.qualified_name}=URL"
        )
    if given and vantage in ("auto", "url"):
        yield Viewpoint(text=f"from this machine to {given}", url=given)
        return
    opener = VIEWPOINTS.get(lab.platform)
    if opener is None:
        raise CannotLook(f"{workload.ref}: give the URL that its clients use with --cp-url")
    with opener(workload, lab, vantage) as viewpoint:
        if viewpoint.note:
            lab.record(f"{workload.ref}: {viewpoint.note}: measured {viewpoint.text}")
        yield viewpoint


@contextmanager
def traffic_from(
    viewpoint: Viewpoint, workload: Workload, lab: Lab, *, rate: float = 50, path: str = ""
) -> Iterator[Traffic]:
    """Traffic that flows while the block lasts, and flowed undisturbed for a moment before it.

    `path` is requested; without it the first of those that the workload answers, probes' paths
    among them. Raises `CannotLook` if requests fail before anything was done, `UsageError` for a
    rate that can't be.
    """
    url = viewpoint.url or _answered(viewpoint, workload, path)
    plan = Plan(
        url=url,
        rate=rate,
        duration=min(_LONGEST, MOST_REQUESTS / rate) if rate > 0 else _LONGEST,
        headers=viewpoint.headers,
        tls=viewpoint.tls,
        connections=viewpoint.connections,
    )
    text = viewpoint.text if viewpoint.url else f"{viewpoint.text}, {_asked(viewpoint, url)}"
    lab.say(f"traffic to {workload.ref}: {rate:g} requests/s {text}")
    _require_well(plan, viewpoint)
    with (
        start(plan, viewpoint.stream(), text) as traffic,
        _reported(traffic, lab, f"traffic to {workload.ref}"),
    ):
        yield traffic


def _reported(traffic: Traffic, lab: Lab, what: str) -> AbstractContextManager[None]:
    """Say now and then how far the traffic is, as long as the block lasts."""

    def report() -> None:
        try:
            sent, failed, elapsed = traffic.progress
        except CannotLook:
            return  # whoever measures is told as well
        lab.say(f"{what}: {sent:,} requests so far, {failed:,} failed, in {elapsed:.0f} s")

    return repeated(report, _REPORT_SECONDS)


def _require_well(plan: Plan, viewpoint: Viewpoint) -> None:
    """Raise `CannotLook` if some requests fail while nobody does anything."""
    seconds = max(1.0, _FEWEST / plan.rate)
    with start(replace(plan, duration=seconds), viewpoint.stream()) as traffic:
        found = traffic.wait()
    if found.failed:
        classes = ", ".join(f"{name} {count}" for name, count in found.failures.items())
        raise CannotLook(
            f"before anything was done, {found.failed} of {found.requests} requests failed"
            f" ({classes}) {viewpoint.text}: name another `path` or `vantage`, or give the URL"
            " that clients use with --cp-url"
        )
    if found.requests < _FEWEST:
        raise CannotLook(
            f"only {found.requests} of {_FEWEST} requests could be sent at {plan.rate:g}/s"
            f" {viewpoint.text}"
        )


def _answered(viewpoint: Viewpoint, workload: Workload, path: str) -> str:
    """The first URL that is answered well, else one where connections are taken."""
    paths = (path,) if path else likely_paths(workload)
    probes = [
        _probe(viewpoint, base, wanted)
        for base in viewpoint.bases
        for wanted in ([""] if base.startswith("tcp:") else paths)
    ]
    found = ask(viewpoint.stream(), probes)
    for one in found:
        if one.outcome == "open" or (one.detail.status or _FAILED) < _FAILED:
            return one.id
    raise CannotLook(
        f"{workload.ref} does not answer {viewpoint.text}: {_outcomes(viewpoint, found)}: name a"
        " `path` that it answers, or give the URL that clients use with --cp-url"
    )


def _probe(viewpoint: Viewpoint, base: str, path: str) -> Probe:
    if base.startswith("tcp:"):
        parts = urlsplit(base)
        return Probe(id=base, protocol="tcp", host=parts.hostname or "", port=parts.port or 0)
    return Probe(
        id=base + path,
        protocol="http",
        url=base + path,
        headers=viewpoint.headers,
        tls=viewpoint.tls,
        attempts=_ATTEMPTS,
    )


def _outcomes(viewpoint: Viewpoint, found: Sequence[Found]) -> str:
    return ", ".join(
        f"{_asked(viewpoint, one.id)}: {one.detail.status or one.outcome}" for one in found
    )


def _asked(viewpoint: Viewpoint, url: str) -> str:
    """What is asked for at a viewpoint, without how to get there."""
    if url.startswith("tcp:"):
        return "connections only"
    base = next(base for base in viewpoint.bases if url.startswith(base))
    return f"GET {url.removeprefix(base)}"


class Availability:
    """How well something is available while a block lasts; `measurement` once that is over."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._measurement: Measurement | None = None

    @property
    def progress(self) -> Progress:
        """How far the traffic is."""
        return self._traffic.progress

    def mark(self, text: str) -> None:
        """Put an event on the timeline, as of now."""
        self._traffic.mark(text)

    @property
    def measurement(self) -> Measurement:
        """What clients saw. Raises `CannotLook` while the block lasts."""
        if self._measurement is None:
            raise CannotLook("there is no measurement before the end of the `with` block")
        return self._measurement

    def finish(self) -> None:
        """End the traffic."""
        self._measurement = self._traffic.stop()


@contextmanager
def measure_availability(
    subject: Workload | str,
    lab: Lab,
    *,
    rate: float = 50,
    vantage: Choice = "auto",
    path: str = "",
    settle: float = SETTLE,
) -> Iterator[Availability]:
    """Traffic to a workload or a URL before, while and `settle` seconds after a block lasts.

    Raises `CannotLook` if it can't be measured; what the block raises passes through.
    """
    _require_level(subject, lab)
    with _traffic(subject, lab, rate=rate, vantage=vantage, path=path) as traffic:
        availability = Availability(traffic)
        yield availability
        time.sleep(settle)
        availability.finish()


@contextmanager
def _traffic(
    subject: Workload | str, lab: Lab, *, rate: float, vantage: Choice, path: str
) -> Iterator[Traffic]:
    if isinstance(subject, Workload):
        with traffic_to(subject, lab, rate=rate, vantage=vantage, path=path) as traffic:
            yield traffic
        return
    viewpoint, plan = (
        Viewpoint(text=f"from this machine to {subject}"),
        Plan(url=subject, rate=rate),
    )
    _require_well(plan, viewpoint)
    with (
        start(plan, viewpoint.stream(), viewpoint.text) as traffic,
        _reported(traffic, lab, f"traffic to {subject}"),
    ):
        yield traffic


def _require_level(subject: Workload | str, lab: Lab) -> None:
    if LEVELS.index(lab.options.level) < LEVELS.index("probe"):
        raise CannotLook(f"{subject}: to send it traffic needs --cp-level=probe")
