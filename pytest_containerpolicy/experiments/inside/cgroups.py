"""What the kernel enforces on a container and has counted of it, from its cgroup's files.

Both versions of the interface; a hybrid host has some controllers in each.
https://docs.kernel.org/admin-guide/cgroup-v2.html
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook

Number = TypeVar("Number", int, float)
# Version 1 has no word for "unlimited": it is the largest number of pages, in bytes.
_UNLIMITED = 1 << 62


class Cgroup(Struct, frozen=True):
    """The files of a container's cgroup by name, a text for each level in sight, its own first.

    A limit is the lowest of all levels, as the kernel enforces every one. A count is its own
    level's: those above count what happens to others, too. None is "no limit", also where the
    kernel or the engine has no such controller. Every property raises `CannotLook` if nothing of
    the cgroup can be seen, counts also if the kernel does not keep them.
    """

    files: Mapping[str, tuple[str, ...]]

    @property
    def memory_limit(self) -> int | None:
        """Bytes."""
        return self._limit("memory.max", "memory.limit_in_bytes")

    @property
    def swap_limit(self) -> int | None:
        """Bytes of memory and swap together, as Docker counts them."""
        if "memory.swap.max" in self.files:
            swap, memory = self._limit("memory.swap.max"), self.memory_limit
            return None if swap is None or memory is None else memory + swap
        return self._limit("memory.memsw.limit_in_bytes")

    @property
    def counts_swap(self) -> bool:
        """Whether the kernel can limit swap at all: it may be built or booted without that."""
        return bool({"memory.swap.max", "memory.memsw.limit_in_bytes"} & set(self.files))

    @property
    def cpu_limit(self) -> float | None:
        """Cores: quota per period."""
        quotas, periods = self._texts("cpu.cfs_quota_us"), self._texts("cpu.cfs_period_us")
        pairs = [f"{quota} {period}" for quota, period in zip(quotas, periods, strict=True)]
        return _lowest(_quota_share, [*self._texts("cpu.max"), *pairs])

    @property
    def cpu_set(self) -> int | None:
        """How many processors it may run on, None where that is not limited."""
        names = ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus")
        return _lowest(_processors, self._texts(*names))

    @property
    def pids_limit(self) -> int | None:
        """Processes and threads."""
        return self._limit("pids.max")

    @property
    def oom_kills(self) -> int:
        """Processes that the kernel killed for want of memory since the container was started."""
        return self._count("oom_kill", "memory.events", "memory.oom_control")

    @property
    def periods(self) -> int:
        """Periods of its CPU quota in which it wanted to run."""
        return self._count("nr_periods", "cpu.stat")

    @property
    def throttled_periods(self) -> int:
        """Those of them in which it had to wait because its quota was used up."""
        return self._count("nr_throttled", "cpu.stat")

    def _texts(self, *names: str) -> Sequence[str]:
        if not self.files:
            raise CannotLook("its cgroup is not visible: no file of it can be read")
        return next((self.files[name] for name in names if name in self.files), ())

    def _limit(self, *names: str) -> int | None:
        return _lowest(_bound, self._texts(*names))

    def _count(self, key: str, *names: str) -> int:
        texts = self._texts(*names)
        counts = [int(value) for text in texts for name, value in _pairs(text) if name == key]
        if not counts:
            raise CannotLook(f"this kernel's {' or '.join(names)} has no {key}")
        # On a hybrid host the file of the other version may be there as well, without the key.
        return counts[0]


def _lowest(parse: Callable[[str], Number | None], texts: Sequence[str]) -> Number | None:
    limits = [limit for limit in map(parse, texts) if limit is not None]
    return min(limits, default=None)


def _bound(text: str) -> int | None:
    word = text.strip()
    return None if word == "max" or int(word) >= _UNLIMITED else int(word)


def _quota_share(text: str) -> float | None:
    quota, period = text.split()
    return None if quota in ("max", "-1") else int(quota) / int(period)


def _processors(text: str) -> int:
    """How many processors a list such as `0-3,6` names."""
    ranges = (part.partition("-") for part in text.strip().split(",") if part)
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def _pairs(text: str) -> list[tuple[str, str]]:
    """The lines of a flat keyed file: `oom_kill 3`."""
    return [(key, value) for key, value in (line.split() for line in text.splitlines() if line)]
