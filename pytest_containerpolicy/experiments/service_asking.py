"""Ask the places of services from a pod that may reach them, and weigh what does not answer."""

import time
from collections import defaultdict
from collections.abc import Sequence

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.network_controls import (
    ANY_NAME,
    MIRAGE,
    ORACLE,
    control_probes,
    is_answer,
)
from pytest_containerpolicy.experiments.network_probing import at_once
from pytest_containerpolicy.experiments.network_vantage import open_vantage
from pytest_containerpolicy.experiments.reach import Found, Probe
from pytest_containerpolicy.experiments.reachability import Pod
from pytest_containerpolicy.experiments.service_places import Place
from pytest_containerpolicy.experiments.service_ports import family_of, read_endpoints
from pytest_containerpolicy.experiments.service_sources import Sources

_PAUSE_SECONDS = 1.5
_REPEATS = 2
_NOT_TOLD = "not told"
_UNASKED = "SCTP"
_UNASKED_REASON = "the prober does not speak SCTP"


class Answer(Struct, frozen=True, kw_only=True):
    """What became of one place: `answers`, `not told` with a reason, or how it failed.

    `optional` tells that it was asked, and need not answer.
    """

    place: Place
    outcome: str
    ms: float = 0.0
    reason: str = ""
    optional: bool = False

    @property
    def failed(self) -> bool:
        """Whether a client would get no answer there."""
        return self.outcome not in ("answers", _NOT_TOLD)


class Asking:
    """Asks each place from the first of some pods that may reach it."""

    def __init__(self, lab: KubernetesLab, sources: Sources, timeout: float) -> None:
        self._lab, self._sources, self._timeout = lab, sources, timeout
        self._found: dict[Place, Found] = {}
        self._gaps: dict[Pod, str] = {}
        # The families of the addresses at which a pod got any answer.
        self._reached: defaultdict[Pod, set[str]] = defaultdict(set)
        self._proxied: set[tuple[Pod, str]] = set()

    def ask(self, places: Sequence[Place]) -> list[Answer]:
        """All places; those that do not answer again, for endpoints change at any time."""
        sources = {place: self._sources.of(place) for place in places if place.is_asked}
        self._ask({place: pod for place, pod in sources.items() if place.protocol != _UNASKED})
        for _ in range(_REPEATS):
            silent = {p: sources[p] for p in self._found if self._disappoints(p, sources[p])}
            if not silent:
                break
            time.sleep(_PAUSE_SECONDS)
            self._ask(silent)
        gone = self._gone(places)
        return [self._weigh(place, sources.get(place), gone) for place in places]

    def _disappoints(self, place: Place, source: Pod) -> bool:
        return not is_answer(self._found[place]) and self._sources.may_reach(source, place)

    def _ask(self, sources: dict[Place, Pod]) -> None:
        by_pod: dict[Pod, list[Place]] = {}
        for place, pod in sources.items():
            by_pod.setdefault(pod, []).append(place)

        def asked(pod: Pod) -> list[Found]:
            whole = any(_is_datagram(place) for place in by_pod[pod])
            probes = [self._probe(place, str(n)) for n, place in enumerate(by_pod[pod])]
            vantage = open_vantage(self._lab, pod, whole=whole)
            return vantage.ask(self._lab, [*probes, *control_probes(pod, self._timeout)])

        for pod, answer in at_once(asked, by_pod).items():
            if isinstance(answer, CannotLook):
                self._gaps[pod] = str(answer)
                continue
            for found in answer:
                self._take(pod, by_pod[pod], found)

    def _take(self, pod: Pod, places: list[Place], found: Found) -> None:
        place = places[int(found.id)] if found.id.isdigit() else None
        if is_answer(found) and found.id in (MIRAGE, ORACLE):
            self._proxied.add((pod, found.id))
        elif is_answer(found):
            self._reached[pod].add(_family(pod, place))
        if place:
            self._found[place] = found

    def _probe(self, place: Place, number: str) -> Probe:
        host, port, timeout = place.host, place.port, self._timeout
        if place.kind == "name":
            # What an ExternalName stands for is absolute: no search domain helps.
            name = f"{place.name.rstrip('.')}."
            return Probe(id=number, protocol="dns", name=name, timeout=2 * timeout)
        if not _is_datagram(place):
            return Probe(id=number, protocol="tcp", host=host, port=port, timeout=timeout)
        if place.is_dns:
            return Probe(
                id=number, protocol="dns", host=host, port=port, name=ANY_NAME, timeout=timeout
            )
        return Probe(id=number, protocol="udp", host=host, port=port, timeout=timeout)

    def _weigh(self, place: Place, source: Pod | None, gone: set[str]) -> Answer:
        if place.kind == "nothing":
            return Answer(place=place, outcome="refused")
        if source is None or place.protocol == _UNASKED:
            reason = place.gap or _UNASKED_REASON
            return Answer(place=place, outcome=_NOT_TOLD, reason=reason)
        found = self._found.get(place)
        if found is None:
            reason = self._gaps.get(source, f"{source} has only a shell, which can't ask {place}")
            return Answer(place=place, outcome=_NOT_TOLD, reason=reason)
        if reason := self._doubt(place, source, found):
            return Answer(place=place, outcome=_NOT_TOLD, reason=reason)
        if excuse := self._excuse(place, found, gone):
            return Answer(place=place, outcome=_NOT_TOLD, reason=excuse, optional=True)
        answers = found.outcome == "resolved" if place.kind == "name" else is_answer(found)
        return Answer(place=place, outcome="answers" if answers else found.outcome, ms=found.ms)

    def _doubt(self, place: Place, source: Pod, found: Found) -> str:
        """Why what was found says nothing of the service; empty if it does."""
        if (source, ORACLE if place.is_dns and _is_datagram(place) else MIRAGE) in self._proxied:
            return f"a proxy in {source} answers in the name of every address"
        if is_answer(found):
            return ""
        # What policies keep nodes from anyway need not let us through to them.
        if not self._is_shielded(place) and (reason := self._sources.hindrance(source, place)):
            return reason
        reached, family = self._reached[source], _family(source, place)
        if not reached:
            return f"{source} reaches nothing at all"
        # Who is refused got there; otherwise it may be that the pod has no such address itself.
        if family not in reached and found.outcome != "refused":
            return f"{source} reaches nothing at all over {family}"
        return ""

    def _excuse(self, place: Place, found: Found, gone: set[str]) -> str:
        """Why a place that was asked need not answer; empty if it must, or does."""
        if is_answer(found):
            return ""
        if place.kind != "name" and _is_datagram(place) and found.outcome != "refused":
            return f"{place} sends nothing back for a datagram, which it need not"
        if place.kind == "endpoint" and place.host in gone:
            return f"{place} was replaced meanwhile"
        if self._is_shielded(place):
            return f"network policies need not let nodes through to what {place} leads to"
        return ""

    def _is_shielded(self, place: Place) -> bool:
        return place.kind == "node port" and self._sources.isolates(place)

    def _gone(self, places: Sequence[Place]) -> set[str]:
        """The addresses of endpoints that are none any more."""
        asked = {place.host for place in places if place.kind == "endpoint"}
        if not asked:
            return set()
        namespace = self._sources.pods[0].namespace
        now = read_endpoints(self._lab, namespace).values()
        return asked - {endpoint.address for endpoints in now for endpoint in endpoints}


def _family(pod: Pod, place: Place | None) -> str:
    """That of a place's address; of a name, or of the pod's node, the one that the pod has."""
    return family_of((place and place.host) or pod.node_address)


def _is_datagram(place: Place) -> bool:
    return place.kind == "name" or place.protocol != "TCP"
