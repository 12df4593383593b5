"""Checks of what bounds CPU, memory, processes and logs."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Bytes, Violation, check
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.quantities import human_bytes

_LOGS_ON_DISK = ("", "json-file", "local")


def runs_on(container: Container) -> bool:
    """Mains and native sidecars: what runs for the life of the workload."""
    return container.role in ("main", "sidecar")


@check(applies=runs_on)
def memory_limit_set(container: Container, at_most: Bytes | None = None) -> Iterator[Violation]:
    """A memory limit is declared, no higher than `at_most`."""
    limit, path = container.memory_limit, field_path(container, "memory_limit")
    if limit is None:
        container.require_limit_ranges()
        yield Violation(found="no memory limit", wanted="a memory limit", path=path)
    elif at_most is not None and limit > at_most:
        yield Violation(
            found=f"memory limit {human_bytes(limit)}",
            wanted=f"at most {human_bytes(at_most)}",
            path=path,
        )


@check(applies=runs_on)
def memory_reserved(container: Container) -> Iterator[Violation]:
    """The scheduler, or the kernel under pressure, knows how much memory is needed at least."""
    if container.memory_request:
        return
    container.require_limit_ranges()
    limit = container.memory_limit
    found = f"memory limit {human_bytes(limit)} without a reservation" if limit else "none reserved"
    path = field_path(container, "memory_request")
    yield Violation(found=found, wanted="memory reserved", path=path)


@check(applies=runs_on)
def cpu_reserved(container: Container) -> Iterator[Violation]:
    """The scheduler knows how much CPU is needed at least."""
    if not container.cpu_request:
        container.require_limit_ranges()
        path = field_path(container, "cpu_request")
        yield Violation(found="none reserved", wanted="CPU reserved", path=path)


@check(applies=runs_on)
def pids_bounded(container: Container) -> Iterator[Violation]:
    """The number of processes and threads is bounded."""
    if container.pids_limit is None:
        path = field_path(container, "pids_limit")
        yield Violation(found="no PIDs limit", wanted="a PIDs limit", path=path)


@check(applies=lambda container: runs_on(container) and container.log_driver in _LOGS_ON_DISK)
def logs_bounded(container: Container, at_most: Bytes | None = None) -> Iterator[Violation]:
    """What a log driver keeps on the engine's disk is bounded, by `at_most` if that is given."""
    limit, path = container.log_limit, field_path(container, "log_limit")
    if limit is None:
        driver = container.log_driver or "the engine's default driver"
        yield Violation(found=f"{driver} without max-size", wanted="a log that rotates", path=path)
    elif at_most is not None and limit > at_most:
        yield Violation(
            found=f"up to {human_bytes(limit)} of log",
            wanted=f"at most {human_bytes(at_most)}",
            path=path,
        )


@check(applies=lambda container: runs_on(container) and container.memory_limit is not None)
def swap_bounded(container: Container) -> Iterator[Violation]:
    """A memory limit is not doubled by swap."""
    limit, swap = container.memory_limit or 0, container.swap_limit
    # Docker's memory-swap is memory plus swap; unset it means twice the memory limit.
    total = 2 * limit if swap is None else swap
    if total < 0 or total > limit:
        extra = "all of the host's" if total < 0 else human_bytes(total - limit)
        yield Violation(
            found=f"memory limit {human_bytes(limit)} plus {extra} swap",
            wanted="no swap beyond the memory limit",
            path=field_path(container, "swap_limit"),
        )
