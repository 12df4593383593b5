"""Whether the names of services resolve inside the cluster, to what they should, and how fast."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import ceil

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.network_scene import Scene, own_pod, read_scene
from pytest_containerpolicy.experiments.network_vantage import Vantage, open_vantage
from pytest_containerpolicy.experiments.reach import Found, Probe, ask
from pytest_containerpolicy.experiments.reachability import Pod
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.service_ports import read_endpoints
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Service

# As many at a time as a busy pod may well have; more would measure the queue of the prober.
_CONCURRENCY = 4
# How long name servers may keep an answer: https://coredns.io/plugins/cache/
_CACHE_SECONDS = 32.0
_PAUSE_SECONDS = 4.0
_OFTEN = 2
_RESOLV_CONF = ["python3", "-c", "print(open('/etc/resolv.conf').read())"]


class Lookup(Struct, frozen=True, kw_only=True):
    """One name, looked up in the service's namespace; `wanted` is None for any address.

    `settling` tells that name servers may not know yet what is wanted.
    """

    name: str
    wanted: frozenset[str] | None
    settling: bool
    addresses: frozenset[str]
    outcome: str
    ms: float

    @property
    def failed(self) -> bool:
        """Whether it does not resolve, or to something else."""
        return self.outcome != "resolved" or self.wanted not in (None, self.addresses)


class Names(Struct, frozen=True, kw_only=True):
    """The lookups of one namespace's services, by service, and those of each for its latency.

    `times` are those of what resolved, in milliseconds; `lost` is how many others did not, of names
    that resolve.
    """

    namespace: str
    lookups: dict[str, tuple[Lookup, ...]]
    times: dict[str, tuple[float, ...]]
    lost: dict[str, int]

    def __str__(self) -> str:
        found = [lookup for lookups in self.lookups.values() for lookup in lookups]
        times = [ms for of_one in self.times.values() for ms in of_one]
        failed = sum(lookup.failed for lookup in found)
        return (
            f"names in {self.namespace}: {len(self.lookups)} services, {len(found)} names,"
            f" {failed} wrong; {sum(self.lost.values())} of"
            f" {len(times) + sum(self.lost.values())} further lookups lost,"
            f" p50 {quantile(times, 0.5):.1f} ms, p99 {quantile(times, 0.99):.1f} ms"
        )


def measure_names(lab: KubernetesLab, model: Model, namespace: str, lookups: int = 20) -> Names:
    """Look up the names of a namespace's services from a pod in it, fully qualified and short.

    The fully qualified one `lookups` times, for the latency. Raises `CannotLook` if the cluster
    can't be read, or network policies let no pod of the namespace through to the cluster's DNS.
    """
    scene = lab.once(("scene", model.target), lambda: read_scene(lab, model))
    lab.say(f"names: looking up those of {namespace}")
    with own_pod(lab, namespace) as own:
        source = _source(scene, [own, *(p for p in scene.pods if p.namespace == namespace)])
        vantage = open_vantage(lab, source, whole=True)
        if not vantage.python:
            raise CannotLook(f"{source} has only a shell, which can't look up names")
        asking = _Asking(lab, vantage, namespace)
        found = asking.settled()
        right = [name for name, ones in found.items() if not any(one.failed for one in ones)]
        times = asking.times(right, lookups) if right else {}
        return Names(
            namespace=namespace,
            lookups=found,
            times=times,
            lost={service: lookups - len(of_one) for service, of_one in times.items()},
        )


def quantile(times: Sequence[float], share: float) -> float:
    """The value that so large a share of others do not exceed; 0 of none."""
    ordered = sorted(times)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


def has_a_name(service: Service) -> bool:
    """Whether it has a name that must resolve: a headless one only with something ready behind."""
    return not service.headless or bool(service.ready_endpoints)


@experiment("probe", "looks up its names from inside", applies=has_a_name)
def service_name_resolves(
    service: Service, lab: KubernetesLab, lookups: int = 20, p99_ms: float = 1000
) -> Iterator[Violation]:
    """A service's names resolve to its address, a headless one's to its ready pods, and in time.

    The fully qualified name is looked up `lookups` times; 99 % must take at most `p99_ms`, and at
    most one may fail.
    """
    namespace = service.ref.namespace
    names = lab.once(
        ("names", namespace, lookups),
        lambda: _recorded(lab, measure_names(lab, service.model, namespace, lookups)),
    )
    found = names.lookups.get(service.ref.name)
    if found is None:
        raise CannotLook(f"{service.ref} is gone, or nothing is ready behind it")
    if wrong := [lookup for lookup in found if lookup.failed]:
        texts = dict.fromkeys(map(_text, wrong))
        yield Violation(found="; ".join(texts), wanted=_wanted(wrong[0]), path="metadata.name")
    yield from _unreliable(names.lost.get(service.ref.name, 0), lookups)
    slow = quantile(names.times.get(service.ref.name, ()), 0.99)
    if slow > p99_ms:
        yield Violation(
            found=f"99 % of {lookups} lookups took up to {slow:.0f} ms",
            wanted=f"at most {p99_ms:g} ms",
            path="metadata.name",
            why="clients wait for as long each time they connect, and 5 s if a query is lost",
        )


def _unreliable(lost: int, lookups: int) -> Iterator[Violation]:
    """Resolvers repeat a query that is lost: what fails all the same is more than one packet."""
    if lost >= min(_OFTEN, lookups) > 0:
        yield Violation(
            found=f"{lost} of {lookups} lookups failed, though the name resolves at other times",
            wanted="an answer to each",
            path="metadata.name",
            why="a name server is down, overloaded or out of reach for some of the queries",
        )


def _recorded(lab: KubernetesLab, names: Names) -> Names:
    lab.record(names)
    return names


def _source(scene: Scene, pods: list[Pod]) -> Pod:
    """A pod that network policies let through to all of the cluster's name servers."""
    servers = [fixture for fixture in scene.fixtures if fixture.protocol == "UDP"]
    for pod in pods:
        answers = [scene.policies.expect(pod, f.end, f.port, f.protocol) for f in servers]
        if not any(answer.allowed is False for answer in answers):
            return pod
    raise CannotLook(f"network policies let no pod of {pods[0].namespace} through to DNS")


class _Asking:
    """Looks up the names of one namespace's services."""

    def __init__(self, lab: KubernetesLab, vantage: Vantage, namespace: str) -> None:
        self._lab, self._vantage, self._namespace = lab, vantage, namespace
        self._domain = cluster_domain(lab, vantage)
        if not self._domain:
            raise CannotLook(f"the pods of {namespace} have no search domain {namespace}.svc.*")

    def settled(self) -> dict[str, tuple[Lookup, ...]]:
        """What each name resolves to, once name servers have had the time to learn of changes."""
        begun = time.monotonic()
        while True:
            found = self._look_up()
            failed = [one for lookups in found.values() for one in lookups if one.failed]
            patience = _CACHE_SECONDS if any(one.settling for one in failed) else _PAUSE_SECONDS
            if not failed or time.monotonic() - begun > patience:
                return found
            time.sleep(_PAUSE_SECONDS)

    def times(self, services: Sequence[str], count: int) -> dict[str, tuple[float, ...]]:
        """How long lookups of each service's full name take that succeed, in milliseconds."""
        wanted = [service for service in services for _ in range(count)]
        found = self._ask([f"{service}.{self._suffix}." for service in wanted])
        times: dict[str, list[float]] = {service: [] for service in services}
        for service, one in zip(wanted, found, strict=True):
            if one.outcome == "resolved":
                times[service].append(one.ms)
        return {service: tuple(values) for service, values in times.items()}

    @property
    def _suffix(self) -> str:
        return f"{self._namespace}.svc.{self._domain}"

    def _look_up(self) -> dict[str, tuple[Lookup, ...]]:
        wanted = dict(self._wanted())
        asked = [
            (service, name)
            for service in wanted
            for name in (f"{service}.{self._suffix}.", f"{service}.{self._namespace}", service)
        ]
        lookups: dict[str, list[Lookup]] = {service: [] for service in wanted}
        for (service, name), found in zip(asked, self._ask([n for _, n in asked]), strict=True):
            lookups[service].append(
                Lookup(
                    name=name,
                    wanted=wanted[service][0],
                    settling=wanted[service][1],
                    addresses=frozenset(found.detail.addresses),
                    outcome=found.outcome,
                    ms=found.ms,
                )
            )
        return {service: tuple(found) for service, found in lookups.items()}

    def _ask(self, names: Sequence[str]) -> list[Found]:
        probes = [
            Probe(id=str(number), protocol="dns", name=name, timeout=12.0)
            for number, name in enumerate(names)
        ]
        pod = self._vantage.pod
        stream = self._vantage.start(self._lab)
        if not probes:
            raise CannotLook(f"there is no service in {pod.namespace} any more")
        return ask(stream, probes, _CONCURRENCY)

    def _wanted(self) -> Iterator[tuple[str, tuple[frozenset[str] | None, bool]]]:
        """The addresses that each service's name stands for now, and whether that may be new."""
        endpoints = read_endpoints(self._lab, self._namespace)
        for document in self._lab.items(f"/api/v1/namespaces/{self._namespace}/services"):
            name, spec = document["metadata"]["name"], document["spec"]
            created = datetime.fromisoformat(document["metadata"]["creationTimestamp"])
            new = (datetime.now(UTC) - created).total_seconds() < _CACHE_SECONDS
            if spec.get("type") == "ExternalName":
                yield name, (None, False)
            elif spec.get("clusterIP") != "None":
                yield name, (frozenset(spec.get("clusterIPs") or [spec["clusterIP"]]), new)
            elif addresses := frozenset(e.address for e in endpoints.get(name, ())):
                yield name, (None if spec.get("publishNotReadyAddresses") else addresses, True)


def cluster_domain(lab: KubernetesLab, vantage: Vantage) -> str:
    """The cluster's domain, of which a pod's first search domain is made; empty if it has none."""
    pod = vantage.pod
    output = lab.execute(pod.namespace, pod.name, _RESOLV_CONF, container=vantage.container)
    for line in output.out.splitlines():
        words = line.split()
        if words[:1] == ["search"]:
            for word in words[1:]:
                if word.startswith(f"{pod.namespace}.svc."):
                    return word.removeprefix(f"{pod.namespace}.svc.").rstrip(".")
    return ""


def _text(lookup: Lookup) -> str:
    if lookup.outcome != "resolved":
        return f"{lookup.name} does not resolve ({lookup.outcome})"
    return f"{lookup.name} resolves to {', '.join(sorted(lookup.addresses))}"


def _wanted(lookup: Lookup) -> str:
    return ", ".join(sorted(lookup.wanted)) if lookup.wanted else "an address"
