"""Where traffic comes from and what it may ask for, whatever the platform."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from pytest_containerpolicy.experiments.availability import Caveats
from pytest_containerpolicy.experiments.prober_streams import LineStream, LocalStream
from pytest_containerpolicy.experiments.traffic import Tls
from pytest_containerpolicy.model.container import Probe
from pytest_containerpolicy.model.workload import Workload

Choice = Literal["auto", "url", "pod", "proxy"]
_HOME = "/"
_DOUBTFUL = (
    "{} is the readiness probe's path, which a server may fail on purpose while it stops: name"
    " another `path`, or give the URL that clients use with --cp-url"
)


class Viewpoint(Struct, frozen=True, kw_only=True):
    """Somewhere a prober can be started, again and again, and how the workload is reached there.

    `url` is all of it where the user gave it. Else `bases` are URLs without a path, the likeliest
    first; one that begins with `tcp:` is for connections only. `caveat` says what clients see and
    this viewpoint does not: failures are failures there, but their absence shows nothing. `note`
    says why it is not a better one.
    """

    text: str
    url: str = ""
    bases: tuple[str, ...] = ()
    stream: Callable[[], LineStream] = LocalStream
    headers: dict[str, str] = {}
    tls: Tls | None = None
    connections: int | Literal["new"] = "new"
    caveat: str = ""
    note: str = ""


def likely_paths(workload: Workload) -> tuple[str, ...]:
    """The paths that a workload may answer, the best to measure with first.

    A readiness probe's comes last: while it drains, a good server fails it on purpose.
    """
    other = [probe for c in workload.main_containers for probe in (c.liveness, c.startup)]
    return tuple(dict.fromkeys([_HOME, *_http_paths(other), *readiness_paths(workload)]))


def readiness_paths(workload: Workload) -> tuple[str, ...]:
    """The paths by which the kubelet asks whether a workload's pods are ready."""
    return tuple(_http_paths([container.readiness for container in workload.main_containers]))


def _http_paths(probes: Iterable[Probe | None]) -> Iterator[str]:
    for probe in probes:
        if probe and probe.handler == "http" and probe.http_path:
            yield probe.http_path


def caveats_of(viewpoint: Viewpoint, workload: Workload, url: str, path: str) -> Caveats:
    """What can't be concluded from traffic to a URL; `path` is what the user chose, if at all."""
    chosen = viewpoint.url or path
    if chosen or not urlsplit(url).path.endswith(readiness_paths(workload)):
        return Caveats(unseen=viewpoint.caveat)
    return Caveats(unseen=viewpoint.caveat, doubtful=_DOUBTFUL.format(urlsplit(url).path))
