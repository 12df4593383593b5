"""The limits in force, against those that are declared."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.inside import (
    FROM_INSIDE,
    Copy,
    Vitals,
    declared_in_files,
    in_every_copy,
    keeps_running,
    look_into,
)
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab, Refused
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.quantities import human_bytes, quantity, whole_bytes

Document = dict[str, Any]
Resource = Literal["memory", "swap", "cpu", "pids"]
# The kernel counts memory in pages, of up to 64 KiB, and cuts off what is left.
_PAGE = 65536
# The shortest quota that the kernel takes is 1 ms, and everybody uses periods of 100 ms:
# https://docs.kernel.org/scheduler/sched-bwc.html
_LEAST_CPU = 0.01
_CPU_STEP = 0.001
# systemd keeps quotas in whole percents of a core, rounded up.
_CPU_PERCENT = 0.0101
_CPU_PERIOD = 100_000
_NANO = 1e9


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of one container: bytes, cores, processes; `swap` is memory and swap together.

    None where nothing is declared.
    """

    memory: int | None = None
    swap: int | None = None
    cpu: float | None = None
    pids: int | None = None


@experiment("probe", f"reads its cgroup {FROM_INSIDE}", applies=keeps_running)
def limits_in_force(
    container: Container, lab: Lab, required: tuple[Resource, ...] = ()
) -> Iterator[Violation]:
    """The kernel enforces the limits that are declared, and some limit on what is `required`."""
    visible = [name for name in required if name != "pids"]

    def flaws(copy: Copy) -> Iterator[Violation]:
        vitals, declared = look_into(copy, lab), declared_limits(copy, lab)
        yield from differences(vitals, declared)
        yield from absences(vitals, declared, visible)
        if "pids" in required and not is_bounded_with_its_pod(vitals, lab):
            yield from absences(vitals, declared, ["pids"])

    yield from in_every_copy(container, lab, flaws)


def declared_limits(copy: Copy, lab: Lab) -> Limits:
    """What a copy's own pod, task or container declares; the workload's template may be newer."""
    if "spec" in copy.document:
        return _of_pod(copy)
    if copy.task:
        return _of_task(copy.task)
    own = _of_engine(copy.document["HostConfig"])
    written = declared_in_files(copy, lab) if lab.platform == "compose" else None
    if written is None:
        return own
    return Limits(
        memory=written.memory_limit or own.memory,
        swap=_bounded(written.swap_limit) or own.swap,
        cpu=written.cpu_limit or own.cpu,
        pids=written.pids_limit or own.pids,
    )


def differences(vitals: Vitals, declared: Limits) -> Iterator[Violation]:
    """Every declared limit that is not in force. Raises `CannotLook` if the cgroup is hidden."""
    cgroup, told = vitals.cgroup, _Teller(vitals.copy)
    if not _is_memory(declared.memory, cgroup.memory_limit):
        yield told.difference("memory", declared.memory, cgroup.memory_limit, human_bytes)
    if not _is_cpu(declared.cpu, vitals):
        yield told.difference("cpu", declared.cpu, cgroup.cpu_limit, _cores)
    if declared.pids is not None and declared.pids != cgroup.pids_limit:
        yield told.difference("pids", declared.pids, cgroup.pids_limit, str)
    # Where the kernel can't limit swap, and the host has none, nothing is lost.
    if (cgroup.counts_swap or vitals.swap) and not _is_memory(declared.swap, cgroup.swap_limit):
        yield told.difference("swap", declared.swap, cgroup.swap_limit, human_bytes)


def absences(vitals: Vitals, declared: Limits, required: Sequence[Resource]) -> Iterator[Violation]:
    """The resources that have to be limited, are not, and are not declared to be either."""
    for name in required:
        field = f"{name}_limit"
        if getattr(declared, name) is None and getattr(vitals.cgroup, field) is None:
            yield Violation(
                found=f"no {name} limit in force",
                wanted=f"a {name} limit",
                path=field_path(vitals.copy.container, field),
            )


def is_bounded_with_its_pod(vitals: Vitals, lab: Lab) -> bool:
    """Whether the kubelet bounds the processes of each pod, if the container itself is not bounded.

    That limit is on the pod's cgroup, which its containers don't see:
    https://kubernetes.io/docs/concepts/policy/pid-limiting/
    Raises `CannotLook` if the kubelet's configuration can't be read.
    """
    if not isinstance(lab, KubernetesLab) or vitals.cgroup.pids_limit is not None:
        return False
    node = vitals.copy.document["spec"]["nodeName"]
    path = f"/api/v1/nodes/{node}/proxy/configz"
    try:
        found = lab.once(path, lambda: lab.get(path))
    except Refused as refusal:
        raise CannotLook(
            f"whether the kubelet of {node} limits the processes of its pods (podPidsLimit) is not"
            f" known: {refusal}"
        ) from None
    return int(found["kubeletconfig"].get("podPidsLimit") or -1) > 0


class _Teller(Struct, frozen=True):
    """Words for what differs in a copy."""

    copy: Copy

    def difference(
        self, name: str, declared: Any, found: Any, text: Callable[[Any], str]
    ) -> Violation:
        """A limit that is declared, and another one or none that is in force."""
        return Violation(
            found=f"no {name} limit in force" if found is None else f"{name} limit {text(found)}",
            wanted=f"{text(declared)}, as declared",
            path=field_path(self.copy.container, f"{name}_limit"),
            why=_resize(self.copy),
        )


def _is_memory(declared: int | None, found: int | None) -> bool:
    return declared is None or (found is not None and declared - _PAGE < found <= declared)


def _is_cpu(declared: float | None, vitals: Vitals) -> bool:
    if declared is None:
        return True
    limit, processors = vitals.cgroup.cpu_limit, vitals.cgroup.cpu_set
    if limit is None:
        # The kubelet's static policy gives whole processors instead of a quota:
        # https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/
        return processors is not None and processors <= declared
    wanted = max(declared, _LEAST_CPU)
    return wanted - _CPU_STEP <= limit <= wanted + _CPU_PERCENT


def _cores(cores: float) -> str:
    return f"{cores:g} cores"


def _bounded(limit: int | None) -> int | None:
    return limit if limit and limit > 0 else None


def _of_pod(copy: Copy) -> Limits:
    # A limit of the whole pod bounds each of its containers:
    # https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/
    limits = {**_limits(copy.document["spec"]), **_limits(copy.spec)}
    return Limits(
        memory=whole_bytes(limits.get("memory", 0)) or None,
        cpu=quantity(limits.get("cpu", 0)) or None,
    )


def _limits(spec: Document) -> Document:
    found: Document = (spec.get("resources") or {}).get("limits") or {}
    return found


def _of_task(task: Document) -> Limits:
    limits = (task["Spec"].get("Resources") or {}).get("Limits") or {}
    return Limits(
        memory=limits.get("MemoryBytes") or None,
        cpu=limits.get("NanoCPUs", 0) / _NANO or None,
        pids=limits.get("Pids") or None,
    )


def _of_engine(host: Document) -> Limits:
    quota = host.get("CpuQuota") or 0
    return Limits(
        memory=host.get("Memory") or None,
        swap=_bounded(host.get("MemorySwap")),
        cpu=(host.get("NanoCpus") or 0) / _NANO
        or (quota / (host.get("CpuPeriod") or _CPU_PERIOD) if quota > 0 else None),
        pids=_bounded(host.get("PidsLimit")),
    )


def _resize(copy: Copy) -> str:
    """Why the kubelet has not carried out a resize of a pod yet, if there is one.

    https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
    """
    conditions = copy.document.get("status", {}).get("conditions") or ()
    for condition in conditions:
        if condition["type"].startswith("PodResize") and condition["status"] == "True":
            reason = condition.get("reason") or "in progress"
            return f"its resize is {reason}: {condition.get('message', '')}".rstrip(": ")
    return ""
