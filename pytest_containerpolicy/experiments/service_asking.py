"""Ask the places of services from a pod that may reach them, and weigh what does not answer."""

import time
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
from pytest_containerpolicy.experiments.reachability import Pod, Policies
from pytest_containerpolicy.experiments.service_places import Place
from pytest_containerpolicy.experiments.service_ports import read_endpoints

_PAUSE_SECONDS = 1.5
_REPEATS = 2
_NOT_TOLD = "not told"
_UNASKED = "SCTP"
_UNASKED_REASON = "the prober does not speak SCTP"


class Answer(Struct, frozen=True, kw_only=True):
    """What became of one place: `answers`, `not told` with a reason, or how it failed."""

    place: Place
    outcome: str
    ms: float = 0.0
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether a client would get no answer there."""
        return self.outcome not in ("answers", _NOT_TOLD)


class Asking:
    """Asks each place from the first of some pods that network policies let through to it."""

    def __init__(
        self, lab: KubernetesLab, policies: Policies, sources: Sequence[Pod], timeout: float
    ) -> None:
        self._lab, self._policies, self._sources = lab, policies, sources
        self._timeout = timeout
        self._found: dict[Place, Found] = {}
        self._gaps: dict[Pod, str] = {}
        self._reaches: set[Pod] = set()
        self._proxied: set[tuple[Pod, str]] = set()

    def ask(self, places: Sequence[Place]) -> list[Answer]:
        """All places; those that do not answer again, for endpoints change at any time."""
        sources = {place: self._source(place) for place in places if place.kind != "nothing"}
        self._ask({place: pod for place, pod in sources.items() if place.protocol != _UNASKED})
        for _ in range(_REPEATS):
            silent = {p: sources[p] for p in self._found if self._disappoints(p, sources[p])}
            if not silent:
                break
            time.sleep(_PAUSE_SECONDS)
            self._ask(silent)
        gone = self._gone(places)
        return [self._weigh(place, sources, gone) for place in places]

    def _source(self, place: Place) -> Pod:
        """The first that may reach it, else the first: policies may not be in force."""
        return next((p for p in self._sources if self._may_reach(p, place)), self._sources[0])

    def _disappoints(self, place: Place, source: Pod) -> bool:
        return not is_answer(self._found[place]) and self._may_reach(source, place)

    def _may_reach(self, pod: Pod, place: Place) -> bool:
        # Whether a pod reaches itself through a service is a matter of the node's set-up.
        if any(end.address == pod.address for end, _ in place.ends) or _is_off(pod, place):
            return False
        expected = (
            self._policies.expect(pod, end, port, place.protocol) for end, port in place.ends
        )
        return all(expectation.allowed for expectation in expected)

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
        if is_answer(found) and found.id in (MIRAGE, ORACLE):
            self._proxied.add((pod, found.id))
        elif is_answer(found):
            self._reaches.add(pod)
        if found.id.isdigit():
            self._found[places[int(found.id)]] = found

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

    def _weigh(self, place: Place, sources: dict[Place, Pod], gone: set[str]) -> Answer:
        if place.kind == "nothing":
            return Answer(place=place, outcome="refused")
        unasked = place.protocol == _UNASKED
        reason = _UNASKED_REASON if unasked else self._doubt(place, sources[place], gone)
        if reason:
            return Answer(place=place, outcome=_NOT_TOLD, reason=reason)
        found = self._found[place]
        answers = found.outcome == "resolved" if place.kind == "name" else is_answer(found)
        return Answer(place=place, outcome="answers" if answers else found.outcome, ms=found.ms)

    def _doubt(self, place: Place, source: Pod, gone: set[str]) -> str:
        """Why what was found says nothing of the service; empty if it does."""
        found = self._found.get(place)
        if found is None:
            return self._gaps.get(source, f"{source} has only a shell, which can't ask {place}")
        if (source, ORACLE if place.is_dns and _is_datagram(place) else MIRAGE) in self._proxied:
            return f"a proxy in {source} answers in the name of every address"
        if is_answer(found):
            return ""
        if _is_off(source, place):
            return f"no pod to ask from is on a node with an endpoint of {place}, which is local"
        if not self._may_reach(source, place):
            return f"network policies let no pod of the namespace through to {place}"
        if source not in self._reaches:
            return f"{source} reaches nothing at all"
        if place.kind != "name" and _is_datagram(place) and found.outcome != "refused":
            return f"{place} sends nothing back for a datagram, which it need not"
        if place.kind == "endpoint" and place.host in gone:
            return f"{place} was replaced meanwhile"
        isolated = (isinstance(e, Pod) and self._isolates(e) for e, _ in place.ends)
        if place.kind == "node port" and any(isolated):
            return f"network policies need not let nodes through to what {place} leads to"
        return ""

    def _isolates(self, pod: Pod) -> bool:
        return bool(self._policies.isolating(pod, "ingress"))

    def _gone(self, places: Sequence[Place]) -> set[str]:
        """The addresses of endpoints that are none any more."""
        asked = {place.host for place in places if place.kind == "endpoint"}
        if not asked:
            return set()
        namespace = self._sources[0].namespace
        now = read_endpoints(self._lab, namespace).values()
        return asked - {endpoint.address for endpoints in now for endpoint in endpoints}


def _is_off(pod: Pod, place: Place) -> bool:
    """Whether a pod is on a node from which a place leads nowhere, by design."""
    return bool(place.nodes) and pod.node not in place.nodes


def _is_datagram(place: Place) -> bool:
    return place.kind == "name" or place.protocol != "TCP"
