"""The pods, policies and other ends between which a network is probed, as they are live."""

import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook, UsageError
from pytest_containerpolicy.experiments.addresses import host_and_port
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    is_ready,
)
from pytest_containerpolicy.experiments.kubernetes_probers import prober_pod
from pytest_containerpolicy.experiments.network_pods import is_ours, pod_of, workload_of
from pytest_containerpolicy.experiments.reachability import (
    Address,
    Direction,
    End,
    Pod,
    Policies,
)
from pytest_containerpolicy.model.cluster import SYSTEM_NAMESPACE
from pytest_containerpolicy.model.container import ContainerPort
from pytest_containerpolicy.model.kubernetes_network import network_policy
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import NetworkPolicy, Service
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets import kubernetes_workloads
from pytest_containerpolicy.targets.decoders import decoder

DNS_PORT = 53
_COPIES = 2


class Fixture(Struct, frozen=True, kw_only=True):
    """A port that is there for all: of the cluster's DNS, the API server, one that the user named.

    `answers` where it is known to be open without asking.
    """

    end: End
    port: int
    protocol: str = "TCP"
    answers: bool = False


class Scene(Struct, frozen=True, kw_only=True):
    """What was there at one moment; `versions` tells whether a policy has changed since.

    `pods` are at most two of each workload, on different nodes where possible, and more only on
    nodes where no other pod is isolated. `gaps` say what could not be read and is left out.
    """

    namespaces: tuple[str, ...]
    pods: tuple[Pod, ...]
    fixtures: tuple[Fixture, ...]
    policies: Policies
    versions: frozenset[tuple[str, str, int]]
    gaps: tuple[str, ...] = ()


def read_scene(lab: KubernetesLab, model: Model, outside: str = "") -> Scene:
    """What is there now in the namespaces of a model, and what may be reached from them.

    Raises `CannotLook` if its pods, policies or namespaces can't be read.
    """
    namespaces = namespaces_of(model)
    documents = [found for name in namespaces for found in policies_in(lab, name)]
    system, gaps = _system(lab, namespaces)
    fixtures = [*system.name_servers, *_api_servers(lab, gaps)]
    fixtures += [_outside(outside)] if outside else []
    decoded = [_policy(found, model) for found in (*documents, *system.policies)]
    policies = Policies(decoded, {*namespaces, *system.namespaces})
    pods = [pod for name in namespaces for pod in _pods(lab, model, name)]
    return Scene(
        namespaces=namespaces,
        pods=tuple(some_of(pods, policies)),
        fixtures=tuple(fixtures),
        policies=policies,
        versions=versions(documents),
        gaps=tuple(gaps),
    )


def namespaces_of(model: Model) -> tuple[str, ...]:
    """The namespaces that workloads or policies of a model are in."""
    refs = [noun.ref for noun in model.all(Workload)]
    refs += [noun.ref for noun in model.all(NetworkPolicy)]
    return tuple(sorted({ref.namespace for ref in refs}))


def current_versions(lab: KubernetesLab, scene: Scene) -> frozenset[tuple[str, str, int]]:
    """The versions of its policies as they are now."""
    return versions(found for name in scene.namespaces for found in policies_in(lab, name))


def lasting_pods(lab: KubernetesLab, namespaces: Iterable[str]) -> frozenset[str]:
    """The uids of the pods that are ready and stay."""
    documents = [pod for name in namespaces for pod in lab.items(f"/api/v1/namespaces/{name}/pods")]
    return frozenset(pod["metadata"]["uid"] for pod in documents if is_ready(pod))


def versions(documents: Iterable[Document]) -> frozenset[tuple[str, str, int]]:
    """Which policies there are, and the generation of each."""
    metadata = [document["metadata"] for document in documents]
    return frozenset((m["namespace"], m["uid"], m.get("generation", 0)) for m in metadata)


def namespace_labels(lab: KubernetesLab, name: str) -> Document:
    """The labels of a namespace. Raises `Refused`."""
    labels: Document = lab.get(f"/api/v1/namespaces/{name}")["metadata"].get("labels") or {}
    return labels


@contextmanager
def own_pod(lab: KubernetesLab, namespace: str) -> Iterator[Pod]:
    """A pod of our own, with labels that nobody else's have. Raises `CannotLook`."""
    with prober_pod(lab, namespace) as name:
        document = lab.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        yield pod_of(document, namespace_labels(lab, namespace))


def _pods(lab: KubernetesLab, model: Model, namespace: str) -> Iterator[Pod]:
    labels = namespace_labels(lab, namespace)
    services = [s for s in model.all(Service) if s.ref.namespace == namespace]
    documents = lab.items(f"/api/v1/namespaces/{namespace}/pods")
    for document in sorted(documents, key=lambda found: (not is_ready(found), _name(found))):
        if _takes_part(lab, document):
            yield _with_service_ports(pod_of(document, labels), services)


def some_of(pods: Iterable[Pod], policies: Policies) -> list[Pod]:
    """Two of each workload on different nodes, and one for each node that isolates none of these.

    Each node enforces policies for itself.
    """
    nodes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    chosen: list[Pod] = []
    others: list[Pod] = []
    for pod in pods:
        taken = nodes[pod.namespace, pod.workload]
        is_wanted = len(taken) < _COPIES and pod.node not in taken
        (chosen if is_wanted else others).append(pod)
        taken |= {pod.node} if is_wanted else set()
    covered = {place for pod in chosen for place in _isolated_on(pod, policies)}
    for pod in others:
        if places := _isolated_on(pod, policies) - covered:
            chosen.append(pod)
            covered |= places
    return chosen


def _isolated_on(pod: Pod, policies: Policies) -> set[tuple[str, Direction]]:
    """The node that must isolate a pod, and the directions in which it must."""
    directions: tuple[Direction, ...] = ("ingress", "egress")
    return {(pod.node, way) for way in directions if policies.isolating(pod, way)}


def _takes_part(lab: KubernetesLab, document: Document) -> bool:
    """Whether a pod stays for a while, is nobody's prober, and is among what the target names."""
    metadata, status = document["metadata"], document["status"]
    running = status.get("phase") == "Running" and status.get("podIP")
    if not running or "deletionTimestamp" in metadata or is_ours(metadata):
        return False
    kind, name = workload_of(metadata)
    return kind != "Job" and lab.target.covers(kind, name)


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _with_service_ports(pod: Pod, services: Iterable[Service]) -> Pod:
    """A pod with the ports that services lead to, too: to declare them is up to the author."""
    declared = {(port.number, port.protocol) for port in pod.ports}
    led_to = {
        (port.target, port.protocol)
        for service in services
        if service.selects(pod.labels)
        for port in service.ports
        if isinstance(port.target, int)
    }
    extra = sorted(led_to - declared)
    ports = (ContainerPort(number=number, protocol=protocol) for number, protocol in extra)
    return msgspec.structs.replace(pod, ports=(*pod.ports, *ports))


def policies_in(lab: KubernetesLab, namespace: str) -> list[Document]:
    """The documents of a namespace's policies. Raises `Refused`."""
    return lab.items(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies")


def _policy(document: Document, model: Model) -> NetworkPolicy:
    read = decoder(kubernetes_workloads.NetworkPolicy).decode(msgspec.json.encode(document))
    try:
        return network_policy(read, model)
    except UsageError as error:
        name = f"{document['metadata']['namespace']}/{document['metadata']['name']}"
        raise CannotLook(f"NetworkPolicy {name}: {error}") from None


class _System(Struct, frozen=True):
    name_servers: tuple[Fixture, ...] = ()
    policies: tuple[Document, ...] = ()
    namespaces: tuple[str, ...] = ()


def _system(lab: KubernetesLab, namespaces: Iterable[str]) -> tuple[_System, list[str]]:
    """The cluster's name servers, and the policies on them unless they are read anyway."""
    path, gaps = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}", []
    servers: list[Fixture] = []
    documents: list[Document] = []
    known: tuple[str, ...] = ()
    try:
        labels = namespace_labels(lab, SYSTEM_NAMESPACE)
        for service in lab.items(f"{path}/services"):
            if selector := service["spec"].get("selector"):
                pods = lab.items(f"{path}/pods", selector) if _dns_ports(service) else []
                servers += _name_servers(service, pods, labels)
        if SYSTEM_NAMESPACE not in namespaces:
            documents = policies_in(lab, SYSTEM_NAMESPACE)
        known = (SYSTEM_NAMESPACE,)
    except Refused as refusal:
        gaps.append(f"paths to the cluster's DNS: {refusal}")
    return _System(tuple(servers), tuple(documents), known), gaps


def _name_servers(
    service: Document, pods: Iterable[Document], labels: Document
) -> Iterator[Fixture]:
    for pod in (pod_of(found, labels) for found in pods if is_ready(found)):
        for port in _dns_ports(service):
            target, protocol = port.get("targetPort", DNS_PORT), port["protocol"]
            named = {(p.name, p.protocol): p.number for p in pod.ports}
            number = named.get((target, protocol)) if isinstance(target, str) else target
            if number:
                yield Fixture(end=pod, port=number, protocol=protocol)


def _dns_ports(service: Document) -> list[Document]:
    """The ports at which a service answers queries; none if it is not the cluster's DNS."""
    ports = [p for p in service["spec"].get("ports") or () if p["port"] == DNS_PORT]
    return ports if any(port["protocol"] == "UDP" for port in ports) else []


def _api_servers(lab: KubernetesLab, gaps: list[str]) -> Iterator[Fixture]:
    """The addresses that the API server itself keeps: it answers at them, or nothing would work."""
    label = {"kubernetes.io/service-name": "kubernetes"}
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    try:
        slices = lab.items(path, label)
    except Refused as refusal:
        gaps.append(f"paths to the API server: {refusal}")
        return
    for found in slices:
        for endpoint in found.get("endpoints") or ():
            for port in found.get("ports") or ():
                address = Address(
                    name="the API server", address=endpoint["addresses"][0], in_cluster=True
                )
                yield Fixture(end=address, port=port["port"], answers=True)


def _outside(text: str) -> Fixture:
    host, port = host_and_port(text, "outside")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotLook(f"params.outside: {host} does not resolve here: {error}") from None
    return Fixture(end=Address(name=host, address=str(found[0][4][0])), port=port)
