"""Copies: what runs of a declared container, and what was found out about each of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from msgspec import Struct

from pytest_containerpolicy.checks.resources import runs_on
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.inside.processes import Process
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_exec import Output

Document = dict[str, Any]
Item = TypeVar("Item")
Answer = TypeVar("Answer")
# What an experiment that looks inside says of how it does that.
FROM_INSIDE = "from inside, or from a prober beside it where it has no shell"
SECONDS = 30.0
WORKERS = 8


class Copy(Struct, frozen=True, kw_only=True, eq=False):
    """One copy of a declared container.

    `document` is the whole pod, or what the engine's `inspect` answers; `status` is the container's
    own part of it. `task` is a Swarm's task, `failed` are those that it replaced because they had
    failed. `down` says why it does not run or can't be reached; empty if it runs.
    """

    container: Container
    name: str
    document: Document
    status: Document
    task: Document = {}
    failed: tuple[Document, ...] = ()
    down: str = ""

    @property
    def id(self) -> str:
        """The runtime's own id, empty before there is one; a restarted container has another."""
        own = str(self.status.get("containerID", "")).rpartition("/")[2]
        return own or str(self.document.get("Id", ""))

    @property
    def spec(self) -> Document:
        """What its pod's spec declares of it."""
        spec = self.document["spec"]
        declared = [*spec["containers"], *(spec.get("initContainers") or ())]
        return next(one for one in declared if one["name"] == self.container.name)

    def require_running(self) -> None:
        """Raise `CannotLook` unless it runs and can be reached."""
        if self.down:
            raise CannotLook(self.down)


class Place(ABC):
    """Where copies run: a cluster or an engine. Threads may share one.

    `workers` is how many copies may be looked into from beside at once.
    """

    workers = WORKERS

    @abstractmethod
    def copies(self, workload: Workload) -> Iterator[Copy]:
        """The copies of a workload's containers that keep running. Raises `CannotLook`."""

    @abstractmethod
    def execute(self, copy: Copy, argv: Sequence[str]) -> Output:
        """Run a program in a copy. Raises `CannotLook`."""

    @abstractmethod
    def execute_beside(
        self, copy: Copy, source: str, words: Sequence[str], owner: Process | None = None
    ) -> Output:
        """Run Python in a prober that sees a copy's processes. Raises `CannotLook`.

        `owner`: the process whose user and group the prober needs, if not those that a copy starts
        with.
        """

    @abstractmethod
    def has_own_processes(self, copy: Copy) -> bool:
        """Whether its first process is number 1 where a program in it looks."""


def keeps_running(container: Container) -> bool:
    """Mains and sidecars of what is meant to run on; what runs to completion may not be there."""
    workload = container.workload
    return runs_on(container) and not workload.runs_to_completion and workload.replicas != 0


def concurrently(
    function: Callable[[Item], Answer], items: Iterable[Item], workers: int = WORKERS
) -> list[Answer | CannotLook]:
    """What the function gives for each item; a gap stands for what it could not look at.

    A single worker is the caller itself, who may hold the lab's lock.
    """

    def asked(item: Item) -> Answer | CannotLook:
        try:
            return function(item)
        except CannotLook as gap:
            return gap

    if workers == 1:
        return list(map(asked, items))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(asked, items))
