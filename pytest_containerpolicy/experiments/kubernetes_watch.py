"""What becomes of a workload's pods, seen as it happens.

A pod's exit codes are there for some milliseconds only, between its end and its removal: a watch
shows them, a list read now and then does not.
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    controls,
    is_alive,
    is_ready,
    refusals,
)
from pytest_containerpolicy.experiments.replacement import Stop
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_failures import GONE, RequestFailed

# The server ends a quiet watch, so that its thread ends soon after whoever watched.
_WATCH_SECONDS = 10
_PAUSE_SECONDS = 0.5
_BLIND_SECONDS = 15.0
_KILLED = 137
_DEFAULT_GRACE = 30
# The kubelet's clock may start this much before a watch tells that the pod is to stop.
_LATE_SECONDS = 1.0


class Life(Struct):
    """One pod as last seen, and when (monotonic clock) it was told to stop, ended and was gone."""

    pod: Document
    told: float | None = None
    ended: float | None = None
    gone: float | None = None

    @property
    def uid(self) -> str:
        return str(self.pod["metadata"]["uid"])

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def stop(self) -> Stop | None:
        """How it stopped; None while it has not, or if nobody told it to."""
        over = self.ended or self.gone
        if self.told is None or over is None:
            return None
        states = {c["name"]: c["state"].get("terminated") for c in _statuses(self.pod)}
        seconds = over - self.told
        return Stop(
            name=self.name,
            seconds=seconds,
            codes={name: int(state["exitCode"]) for name, state in states.items() if state},
            killed=any(_is_killed(self.pod, status, seconds) for status in _statuses(self.pod)),
        )


class PodWatch:
    """Follows the pods of a workload while the block lasts.

    Raises `Refused` at its start if pods can't be listed and watched.
    """

    def __init__(self, lab: KubernetesLab, workload: Workload) -> None:
        self._lab, self._workload = lab, workload
        self._path = f"/api/v1/namespaces/{workload.namespace}/pods"
        labels = ",".join(f"{key}={value}" for key, value in workload.labels.items())
        self._query = {"labelSelector": labels}
        self._version = ""
        self._lives: dict[str, Life] = {}
        self._counts: list[tuple[float, int]] = []
        self._over = threading.Event()
        self._trouble: tuple[float, str] | None = None

    def __enter__(self) -> Self:
        first = self._open()
        threading.Thread(target=self._run, args=(first,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()

    @property
    def lives(self) -> list[Life]:
        """Every pod that was seen since the start, the eldest first."""
        return list(self._lives.values())

    @property
    def active(self) -> set[str]:
        """The uids of the pods that neither have ended nor are about to."""
        return {life.uid for life in self.lives if life.told is None and is_alive(life.pod)}

    @property
    def ready(self) -> int:
        """How many pods are ready."""
        return self._counts[-1][1]

    @property
    def fewest_ready(self) -> int:
        """How many pods were ready at the worst moment."""
        return min(count for _, count in self._counts)

    def seconds_without_ready(self) -> float:
        """For how long no pod was ready, all in all."""
        counts = [*self._counts, (time.monotonic(), 0)]
        return sum(after - at for (at, ready), (after, _) in pairwise(counts) if not ready)

    def require_sight(self) -> None:
        """Raise `CannotLook` if the pods have been out of sight for some time."""
        if self._trouble and time.monotonic() - self._trouble[0] > _BLIND_SECONDS:
            raise CannotLook(f"lost sight of {self._workload.ref}: {self._trouble[1]}")

    def _run(self, lines: Iterator[bytes]) -> None:
        while not self._over.is_set():
            try:
                for line in lines:
                    self._take(msgspec.json.decode(line))
                lines = self._open()
                self._trouble = None
            except (RequestFailed, Refused) as failure:
                self._version = "" if failure.status == GONE else self._version
                self._trouble = self._trouble or (time.monotonic(), str(failure))
                self._over.wait(_PAUSE_SECONDS)
                lines = iter(())

    def _open(self) -> Iterator[bytes]:
        """The events since what was seen last."""
        if not self._version:
            self._list()
        query = self._query | {
            "watch": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        with refusals(f"watch pods in namespace {self._workload.namespace}"):
            return self._lab.connection.follow(self._path, query, 2 * _WATCH_SECONDS)

    def _list(self) -> None:
        found = self._lab.get(self._path, self._query)
        self._version = found["metadata"]["resourceVersion"]
        pods = {pod["metadata"]["uid"]: pod for pod in found["items"]}
        for uid, life in self._lives.items():
            if uid not in pods and life.gone is None:
                life.gone = time.monotonic()
        for pod in pods.values():
            self._see(pod)
        self._count()

    def _take(self, event: Document) -> None:
        found = event["object"]
        if event["type"] == "ERROR":
            raise RequestFailed.from_status(found.get("code", 0), found.get("message", ""))
        self._version = found["metadata"]["resourceVersion"]
        if event["type"] != "BOOKMARK":
            self._see(found, gone=event["type"] == "DELETED")
            self._count()

    def _see(self, pod: Document, *, gone: bool = False) -> None:
        if not controls(self._workload, pod):
            return
        now = time.monotonic()
        life = self._lives.setdefault(pod["metadata"]["uid"], Life(pod))
        life.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            life.told = life.told or now
        if _has_ended(pod):
            life.ended = life.ended or now
        if gone:
            life.gone = now

    def _count(self) -> None:
        ready = sum(is_ready(life.pod) for life in self._lives.values() if life.gone is None)
        self._counts.append((time.monotonic(), ready))


def _statuses(pod: Document) -> list[Document]:
    found: list[Document] = pod["status"].get("containerStatuses") or []
    return found


def _is_killed(pod: Document, status: Document, seconds: float) -> bool:
    """Whether the kubelet killed it: 137 before its time was over is the program's own."""
    state = status["state"].get("terminated")
    # That of the deletion is set to 0 at the end, by the kubelet itself.
    grace = pod["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
    if not state or state["exitCode"] != _KILLED or state.get("reason") == "OOMKilled":
        return False
    return bool(seconds > grace - _LATE_SECONDS or status.get("stopSignal") == "SIGKILL")


def _has_ended(pod: Document) -> bool:
    statuses = _statuses(pod)
    return bool(statuses) and all("terminated" in status["state"] for status in statuses)
