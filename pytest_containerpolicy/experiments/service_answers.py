"""Whether every port of every service answers from inside the cluster, at each place it has."""

import time
from collections.abc import Iterator

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.network_scene import read_scene
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.service_asking import Answer, Asking
from pytest_containerpolicy.experiments.service_places import Place, places_of
from pytest_containerpolicy.experiments.service_ports import family_of
from pytest_containerpolicy.experiments.service_sources import open_sources
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Service, ServicePort

_SETTLE_SECONDS = 2.0


class ServiceAnswers(Struct, frozen=True, kw_only=True):
    """What answered at the services of one namespace, by service."""

    namespace: str
    answers: dict[str, tuple[Answer, ...]]
    seconds: float

    def __str__(self) -> str:
        asked = [answer for answers in self.answers.values() for answer in answers]
        counts = {o: sum(a.outcome == o for a in asked) for o in ("answers", "not told")}
        silent = len(asked) - sum(counts.values())
        reasons = dict.fromkeys(a.reason for a in asked if a.outcome == "not told")
        head = (
            f"services of {self.namespace}: {len(self.answers)} services, {len(asked)} places asked"
            f" in {self.seconds:.1f} s: {counts['answers']} answer, {silent} do not,"
            f" {counts['not told']} not told"
        )
        return "\n".join([head, *(f"  not told: {reason}" for reason in reasons)])


def measure_services(
    lab: KubernetesLab, model: Model, namespace: str, timeout: float = 2.0
) -> ServiceAnswers:
    """Ask every place of every port of a namespace's services; `timeout` in seconds for each.

    From pods of our own, or from one of the namespace that network policies let through.
    Raises `CannotLook` if the cluster can't be read or nothing can be probed from.
    """
    begun = time.monotonic()
    scene = lab.once(("scene", model.target), lambda: read_scene(lab, model))
    lab.say(f"services: asking those of {namespace}")
    places = _settled_places(lab, namespace)
    with open_sources(lab, scene, namespace, places) as sources:
        answers = Asking(lab, sources, timeout).ask(places)
    by_service: dict[str, list[Answer]] = {}
    for answer in answers:
        by_service.setdefault(answer.place.service, []).append(answer)
    return ServiceAnswers(
        namespace=namespace,
        answers={service: tuple(found) for service, found in by_service.items()},
        seconds=time.monotonic() - begun,
    )


def _settled_places(lab: KubernetesLab, namespace: str) -> list[Place]:
    """The places of a namespace's services; endpoints that are just coming are waited for."""
    places = places_of(lab, namespace)
    if any(place.kind == "nothing" for place in places):
        time.sleep(_SETTLE_SECONDS)
        places = places_of(lab, namespace)
    return places


def is_meant_to_answer(service: Service) -> bool:
    """Whether it has ports, and anything behind it that has not been scaled to nothing."""
    if service.type == "ExternalName":
        return True
    if not service.ports:
        return False
    behind = service.workloads
    stays = any(w.replicas != 0 and not w.runs_to_completion for w in behind)
    unmatched = service.selector is not None and not behind
    return stays or unmatched or bool(service.ready_endpoints)


@experiment("probe", "connects to each of its ports from inside", applies=is_meant_to_answer)
def service_answers(
    service: Service, lab: KubernetesLab, timeout: float = 2.0
) -> Iterator[Violation]:
    """Each port of a service answers: at its addresses, at each endpoint, at its node port.

    `timeout` in seconds. A datagram that nothing answers proves nothing.
    """
    namespace = service.ref.namespace
    measured = lab.once(
        ("services", namespace, timeout),
        lambda: _recorded(lab, measure_services(lab, service.model, namespace, timeout)),
    )
    answers = measured.answers.get(service.ref.name)
    if answers is None:
        raise CannotLook(f"{service.ref} is gone")
    violations = [v for index in _indexes(answers) for v in _judged(service, index, answers)]
    if not violations:
        _require_answers(service, answers)
    yield from violations


def _recorded(lab: KubernetesLab, measured: ServiceAnswers) -> ServiceAnswers:
    lab.record(measured)
    return measured


def _indexes(answers: tuple[Answer, ...]) -> list[int]:
    return sorted({answer.place.index for answer in answers})


def _judged(service: Service, index: int, answers: tuple[Answer, ...]) -> Iterator[Violation]:
    """What is wrong with one port, at the place nearest to its pods: that explains the others."""
    own = [answer for answer in answers if answer.place.index == index]
    for kind in ("name", "nothing", "endpoint", "address", "node port"):
        asked = [answer for answer in own if answer.place.kind == kind]
        failed = [answer for answer in asked if answer.failed]
        if failed:
            first = failed[0]
            beyond = f" ({len(failed)} of {len(asked)} {_MANY[kind]})" if len(asked) > 1 else ""
            yield Violation(
                found=f"{_port(service, index)}{first.outcome} at {first.place}{beyond}",
                wanted="an answer",
                path=f"spec.ports[{index}]" if service.ports else "spec.externalName",
                why=_WHY[kind],
            )
            return


_MANY = {"endpoint": "endpoints", "address": "addresses", "node port": "node ports"}
_WHY = {
    "name": "the name that it stands for does not resolve from inside the cluster",
    "nothing": "no ready pod has that port: every connection is refused",
    "endpoint": "nothing listens there: the service's targetPort or the pod is wrong",
    "address": "its endpoints answer, but its own address does not lead to them",
    "node port": "it answers inside the cluster, but not at the nodes",
}


def _port(service: Service, index: int) -> str:
    if not service.ports:
        return ""
    port: ServicePort = service.ports[index]
    return f"port {port.number}/{port.protocol}: "


def _require_answers(service: Service, answers: tuple[Answer, ...]) -> None:
    """Raise `CannotLook` unless each port answered at each kind of place that it has."""
    for index in _indexes(answers):
        untold = _untold([answer for answer in answers if answer.place.index == index])
        if untold:
            reasons = "; ".join(dict.fromkeys(answer.reason for answer in untold if answer.reason))
            raise CannotLook(f"{service.ref}: {_port(service, index)}{reasons}")


def _untold(answers: list[Answer]) -> list[Answer]:
    """What keeps one port from being judged.

    Of each kind of place one must answer, in each family of addresses. What need not is no proof,
    either: something else must answer.
    """
    groups: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.place.kind, family_of(answer.place.host)), []).append(answer)
    silent = [g for g in groups.values() if all(a.outcome != "answers" for a in g)]
    if len(silent) == len(groups):
        return answers
    return [answer for group in silent for answer in group if not answer.optional]
