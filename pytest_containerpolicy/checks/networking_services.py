"""Checks of what services, routes and network policies lead to or select."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Backend, NetworkPolicy, Route, Service, ServicePort
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.selectors import Requirement, Selector
from pytest_containerpolicy.model.workload import Workload

# The AWS controller's own backends: an annotation says what they do.
# https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/#actions
_NO_SERVICE = "use-annotation"


def selects_pods(service: Service) -> bool:
    """Whether its backends are pods: no ExternalName, no endpoints managed by somebody else."""
    return (
        service.type != "ExternalName"
        and service.selector is not None
        and not service.selector.is_empty
    )


def selects_some(policy: NetworkPolicy) -> bool:
    """Whether it is meant for some pods: the empty selector takes those that come later, too."""
    return not policy.selector.is_empty


def leads_to_services(route: Route) -> bool:
    """Whether any of its backends is a service."""
    return any(backend.port != _NO_SERVICE for backend in route.backends)


@check(applies=selects_pods)
def service_has_backends(service: Service) -> Iterator[Violation]:
    """A service selects pods that stay; those of a Job only where it is headless.

    Raises `CannotLook` where files do not tell which pods there are.
    """
    if _backends(service):
        return
    if service.workloads:
        jobs = ", ".join(str(workload.ref) for workload in service.workloads)
        found, why = f"selects only {jobs}, which ends", ""
    else:
        conditions = service.selector.requirements if service.selector else ()
        why = _near_miss(conditions, service.ref, service.model)
        found = f"no pods with {service.selector}"
    wanted = "the labels of a workload's pods"
    yield Violation(found=found, wanted=wanted, path="spec.selector", why=why)


@check(applies=selects_some)
def network_policy_selects_pods(policy: NetworkPolicy) -> Iterator[Violation]:
    """A network policy that names some pods selects any.

    Raises `CannotLook` where files do not tell which pods there are.
    """
    if not policy.model.selected_by(policy):
        yield Violation(
            found=f"no pods with {policy.selector}",
            wanted="the labels of a workload's pods",
            path="spec.podSelector",
            why=_near_miss(policy.selector.requirements, policy.ref, policy.model),
        )


@check(applies=selects_pods)
def service_ports_match(service: Service, numbers: bool = False) -> Iterator[Violation]:
    """Each port of a service is one that the pods behind it declare: by name, if asked by number.

    What a container declares is informational for numbers: it may listen on others.
    """
    for workload in _backends(service):
        for index, port in enumerate(service.ports):
            if not _declares(workload, port, numbers and not service.headless):
                yield Violation(
                    found=f"port {port.number} leads to {port.target}, {_declared(workload, port)}",
                    wanted="a port that its containers declare",
                    path=f"spec.ports[{index}].targetPort",
                )


@check(applies=leads_to_services)
def route_backends_exist(route: Route) -> Iterator[Violation]:
    """Each backend of an Ingress or HTTPRoute is a service that exists and has that port.

    Raises `CannotLook` where files hold none of the namespace's services.
    """
    for backend in route.backends:
        if backend.port != _NO_SERVICE:
            yield from _missing(route, backend)


def _backends(service: Service) -> list[Workload]:
    # The pods of a Job are endpoints until they end; only those of a Job find each other that way.
    return [w for w in service.workloads if service.headless or not w.runs_to_completion]


def _missing(route: Route, backend: Backend) -> Iterator[Violation]:
    name = f"service {backend.namespace}/{backend.service}"
    service = route.model.get(Service, backend.service, backend.namespace)
    if service is None:
        _require_any(Service, "services", backend.namespace, route.model)
        yield Violation(found=f"no {name}", wanted="a service that exists", path=backend.path)
    elif not _has_port(service, backend.port):
        known = ", ".join(str(port.number) for port in service.ports)
        yield Violation(
            found=f"{name} has no port {backend.port}",
            wanted=f"one of its ports ({known})",
            path=f"{backend.path}.port",
        )


def _has_port(service: Service, port: int | str | None) -> bool:
    # What is behind an ExternalName answers on whatever port it likes.
    if port is None or service.type == "ExternalName":
        return True
    return any(port in (known.number, known.name) for known in service.ports)


def _declares(workload: Workload, port: ServicePort, numbers: bool) -> bool:
    declared = [found for container in workload.running_containers for found in container.ports]
    if isinstance(port.target, str):
        return any((p.name, p.protocol) == (port.target, port.protocol) for p in declared)
    numbered = [p.number for p in declared if p.protocol == port.protocol]
    return not numbers or not numbered or port.target in numbered


def _declared(workload: Workload, port: ServicePort) -> str:
    declared = [
        (found.name or str(found.number)) if isinstance(port.target, str) else str(found.number)
        for container in workload.running_containers
        for found in container.ports
        if found.protocol == port.protocol
    ]
    return f"{workload.ref} declares {', '.join(declared) or f'no {port.protocol} port'}"


def _near_miss(conditions: tuple[Requirement, ...], ref: ObjectRef, model: Model) -> str:
    """The workload that was probably meant, and what keeps it from being selected.

    Raises `CannotLook` if files leave open whether the pods are there.
    """
    selector = Selector(conditions)
    for workload in model.all(Workload):
        if workload.namespace != ref.namespace and selector.matches(workload.labels):
            return f"{workload.ref} has them, but in another namespace"
    _require_no_maker(conditions, ref, model)
    _require_any(Workload, "workloads", ref.namespace, model)
    local = model.within(Workload, ref.namespace)
    nearest = min(local, key=lambda w: len(_unmet(conditions, w)), default=None)
    if nearest is None or len(_unmet(conditions, nearest)) == len(conditions):
        return ""
    return f"{nearest.ref} lacks {Selector(_unmet(conditions, nearest))}"


def _unmet(conditions: tuple[Requirement, ...], workload: Workload) -> tuple[Requirement, ...]:
    return tuple(r for r in conditions if not r.matches(workload.labels))


def _require_no_maker(conditions: tuple[Requirement, ...], ref: ObjectRef, model: Model) -> None:
    # Operators label the pods they make with the name of the resource they make them for.
    values = {value for requirement in conditions for value in requirement.values}
    for resource in model.header.custom_resources:
        if resource.namespace == ref.namespace and resource.name in values:
            raise CannotLook(
                f"whether {ref} selects the pods that an operator makes for {resource},"
                " only the cluster can tell"
            )


def _require_any(noun: type, nouns: str, namespace: str, model: Model) -> None:
    """Files that hold nothing of a kind in a namespace are a part of what is deployed there."""
    if not model.is_live and not model.within(noun, namespace):
        raise CannotLook(f"{model.target} declares no {nouns} in namespace {namespace}")
