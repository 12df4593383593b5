"""How clients in a cluster reach a workload: its services, from a pod or through the API server."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook, NotRestored
from pytest_containerpolicy.experiments.kubernetes_lab import (
    KubernetesLab,
    Refused,
    workload_path,
)
from pytest_containerpolicy.experiments.kubernetes_probers import PROBER, prober_pod, start_prober
from pytest_containerpolicy.experiments.traffic import Tls
from pytest_containerpolicy.experiments.viewpoint import Choice, Viewpoint
from pytest_containerpolicy.model.network import Service, ServicePort
from pytest_containerpolicy.model.workload import Workload

# Opened as needed: requests that hang must not make others wait for a connection.
_PROXY_CONNECTIONS = 200
# Measured: of rollouts that fail a pod's requests, the proxy shows fewer failures or none.
_CAVEAT = "the API server knows of a pod's end at once, and clients behind kube-proxy later"
_HTTP_NAMES = ("http", "web", "grpc", "api")
_HTTPS_PORTS = (443, 8443)


class Entrance(Struct, frozen=True, kw_only=True):
    """A service's port that clients of a workload use; `is_http` if a probe asks it by HTTP."""

    service: Service
    port: ServicePort
    number: int
    is_http: bool

    @property
    def name(self) -> str:
        """The service as people name it."""
        return f"service {self.service.ref.qualified_name}"

    @property
    def host(self) -> str:
        """Its name in the cluster's DNS, without the cluster's domain."""
        return f"{self.service.ref.name}.{self.service.ref.namespace}.svc"

    @property
    def schemes(self) -> tuple[str, ...]:
        """What may be spoken there, the likeliest first."""
        secure = "https" in self.port.name or self.number in _HTTPS_PORTS
        spoken = ("https", "http") if secure else ("http", "https")
        return spoken if self.is_http else (*spoken, "tcp")


def entrance_of(workload: Workload) -> Entrance:
    """The port of its services that clients most likely use.

    Raises `CannotLook` if it has none, or if services could not be read.
    """
    found = [
        _entrance(workload, service, port)
        for service in workload.services
        for port in service.ports
        if port.protocol == "TCP"
    ]
    if not found:
        raise CannotLook(
            f"{workload.ref}: no service with a TCP port leads to it: give the URL that its"
            f" clients use with --cp-url {workload.ref.qualified_name}=URL"
        )
    return min(found, key=_rank)


def _entrance(workload: Workload, service: Service, port: ServicePort) -> Entrance:
    # The name of a headless service leads to the pods themselves, past the service's own number.
    number = _pod_port(workload, port) if service.headless else port.number
    return Entrance(service=service, port=port, number=number, is_http=_is_probed(workload, port))


def _rank(entrance: Entrance) -> tuple[bool, ...]:
    named = entrance.port.name.startswith(_HTTP_NAMES)
    service = entrance.service
    return service.publish_not_ready, not entrance.is_http, not named, service.headless


def _pod_port(workload: Workload, port: ServicePort) -> int:
    if isinstance(port.target, int):
        return port.target
    named = [p.number for c in workload.containers for p in c.ports if p.name == port.target]
    return named[0] if named else port.number


def _is_probed(workload: Workload, port: ServicePort) -> bool:
    """Whether the kubelet asks that very port of the pods by HTTP."""
    targets = {port.target, _pod_port(workload, port)}
    for container in workload.running_containers:
        names = {p.name: p.number for p in container.ports}
        for probe in (container.readiness, container.liveness, container.startup):
            if probe and probe.handler == "http":
                asked = names.get(str(probe.port), probe.port)
                if asked in targets or probe.port in targets:
                    return True
    return False


@contextmanager
def viewpoint(workload: Workload, lab: KubernetesLab, choice: Choice) -> Iterator[Viewpoint]:
    """A pod beside the workload; the API server's proxy if that is chosen, or no pod is to be had.

    Raises `CannotLook`.
    """
    entrance = entrance_of(workload)
    if choice == "proxy":
        yield proxied(lab, entrance)
        return
    with ExitStack() as stack:
        pod = note = ""
        try:
            pod = stack.enter_context(_prober_in_nobodys_way(lab, workload))
        except NotRestored:
            raise
        except CannotLook as gap:
            if choice == "pod":
                raise
            note = f"no prober pod in its namespace: {gap}"
        yield proxied(lab, entrance, note) if note else beside(lab, entrance, pod)


@contextmanager
def _prober_in_nobodys_way(lab: KubernetesLab, workload: Workload) -> Iterator[str]:
    """A prober pod that leaves a rollout the room in quotas that it had before."""
    had_room = _has_room(lab, workload)
    with prober_pod(lab, workload.namespace) as pod:
        # Without the right to exec a pod is of no use, and it is better to know now.
        lab.execute(workload.namespace, pod, ["python3", "-c", ""], container=PROBER)
        if had_room and not _has_room(lab, workload):
            raise CannotLook(
                f"the quotas of namespace {workload.namespace} have no room for it beside an"
                f" additional pod of {workload.ref}"
            )
        yield pod


def _has_room(lab: KubernetesLab, workload: Workload) -> bool:
    """Whether the namespace's quotas admit the additional pod of a rollout, where it needs one."""
    if workload.rollout is None or not workload.rollout.max_surge:
        return True
    document = lab.find(workload_path(workload)) or {"spec": {"template": {}}}
    template = document["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {**template.get("metadata", {}), "generateName": "containerpolicy-"}
    try:
        lab.create(f"/api/v1/namespaces/{workload.namespace}/pods", pod, dry_run=True)
    except Refused as refusal:
        return "exceeded quota" not in refusal.message
    return True


def beside(lab: KubernetesLab, entrance: Entrance, pod: str) -> Viewpoint:
    """From a pod of the same namespace, over the path that other pods take."""
    service = entrance.service
    address = service.cluster_ip or entrance.host
    host = f"[{address}]" if ":" in address else address
    return Viewpoint(
        text=f"through {entrance.name} from a pod beside it",
        bases=tuple(f"{scheme}://{host}:{entrance.number}" for scheme in entrance.schemes),
        stream=lambda: start_prober(lab, service.ref.namespace, pod, PROBER),
        # Servers that look at the name they are asked for know this one.
        headers={"Host": f"{entrance.host}:{entrance.number}"},
        tls=Tls(verify=False, server_name=entrance.host),
    )


def proxied(lab: KubernetesLab, entrance: Entrance, note: str = "") -> Viewpoint:
    """From this machine, through the API server, which looks the endpoints up for each request.

    https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
    """
    service, server = entrance.service.ref, lab.connection.server
    path = f"{server}/api/v1/namespaces/{service.namespace}/services"
    schemes = [scheme for scheme in entrance.schemes if scheme != "tcp"]
    return Viewpoint(
        text=f"through {entrance.name} by the API server's proxy",
        bases=tuple(
            f"{path}/{quote(f'{scheme}:{service.name}:{entrance.port.number}')}/proxy"
            for scheme in schemes
        ),
        headers=lab.connection.credentials(),
        tls=_tls(lab),
        connections=_PROXY_CONNECTIONS,
        caveat=_CAVEAT,
        note=note,
    )


def _tls(lab: KubernetesLab) -> Tls:
    configuration = lab.connection.client.configuration
    if configuration.proxy:
        raise CannotLook(
            "the API server is behind an HTTP proxy, which the measuring client can't pass:"
            " give a URL with --cp-url"
        )
    return Tls(
        ca=_text(configuration.ssl_ca_cert),
        cert=_text(configuration.cert_file),
        key=_text(configuration.key_file),
        verify=bool(configuration.verify_ssl),
        server_name=configuration.tls_server_name or "",
    )


def _text(path: str | None) -> str:
    return Path(path).read_text() if path else ""
