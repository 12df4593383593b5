"""Checks of what services and routes lead to."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.network import Service
from pytest_containerpolicy.model.selectors import Requirement, Selector
from pytest_containerpolicy.model.workload import Workload


def selects_pods(service: Service) -> bool:
    """Whether its backends are pods: no ExternalName, no endpoints managed by somebody else."""
    return (
        service.type != "ExternalName"
        and service.selector is not None
        and not service.selector.is_empty
    )


@check(applies=selects_pods)
def service_has_backends(service: Service) -> Iterator[Violation]:
    """A service selects pods that stay; those of a Job only where it is headless.

    Raises `CannotLook` where a custom resource in files may be what makes the pods.
    """
    backends = service.workloads
    if not backends:
        _require_no_maker(service)
    if any(service.headless or not workload.runs_to_completion for workload in backends):
        return
    jobs = ", ".join(str(workload.ref) for workload in backends)
    yield Violation(
        found=f"selects only {jobs}, which ends" if jobs else f"no pods with {service.selector}",
        wanted="the labels of a workload's pods",
        path="spec.selector",
        why="" if jobs else _near_miss(service),
    )


def _require_no_maker(service: Service) -> None:
    # Operators label the pods they make with the name of the resource they make them for.
    values = {value for requirement in _conditions(service) for value in requirement.values}
    for resource in service.model.header.custom_resources:
        if resource.namespace == service.ref.namespace and resource.name in values:
            raise CannotLook(
                f"whether {service.ref} selects the pods that an operator makes for {resource},"
                " only the cluster can tell"
            )


def _near_miss(service: Service) -> str:
    """The workload that was probably meant, and what keeps the service from selecting it."""
    workloads = service.model.all(Workload)
    for workload in workloads:
        if service.selects(workload.labels):
            return f"{workload.ref} has them, but a service selects in its own namespace only"
    local = [w for w in workloads if w.namespace == service.ref.namespace]
    nearest = min(local, key=lambda w: len(_unmet(service, w)), default=None)
    if nearest is None or len(_unmet(service, nearest)) == len(_conditions(service)):
        return ""
    return f"{nearest.ref} lacks {Selector(_unmet(service, nearest))}"


def _unmet(service: Service, workload: Workload) -> tuple[Requirement, ...]:
    return tuple(r for r in _conditions(service) if not r.matches(workload.labels))


def _conditions(service: Service) -> tuple[Requirement, ...]:
    return service.selector.requirements if service.selector else ()
