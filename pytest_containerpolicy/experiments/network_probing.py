"""Run a plan: ask every path from its source, again where the answer surprises, and weigh it.

Silence proves nothing unless the port is shown to answer somebody else (positive control) and the
prober to reach something else (negative control).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Literal, TypeVar

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.network_controls import (
    ANY_NAME,
    MIRAGE,
    NODE,
    ORACLE,
    control_probes,
    is_answer,
)
from pytest_containerpolicy.experiments.network_sampling import LISTENER_PORT, Path, Plan
from pytest_containerpolicy.experiments.network_vantage import Vantage, open_vantage
from pytest_containerpolicy.experiments.reach import Found, Listener, Probe, listening
from pytest_containerpolicy.experiments.reachability import Pod

Result = TypeVar("Result")
Outcome = Literal["as expected", "got through", "blocked", "not told", "unconfirmed"]
_THREADS = 24
_PAUSE_SECONDS = 1.5
_REPEATS = 2
# One lost packet is no policy.
_ATTEMPTS = 2
# A connection came about, and yet no answer of the listener's own.
_OPENED = ("answered", "closed", "no answer", "reset")
_PAYLOAD = "containerpolicy\n"


class Probed(Struct, frozen=True, kw_only=True):
    """One path and what became of it; `reason` says why it could not be told.

    It is unconfirmed if it surprised once and could not be asked again.
    """

    path: Path
    outcome: Outcome
    ms: float = 0.0
    reason: str = ""

    @property
    def is_told(self) -> bool:
        """Whether it says anything of what is enforced."""
        return self.outcome not in ("not told", "unconfirmed")

    def __str__(self) -> str:
        took = f" in {self.ms:.0f} ms" if self.ms else ""
        return f"{self.path} {self.outcome}{took}{self.reason and f': {self.reason}'}"


class Probing:
    """One plan carried out. Threads ask; what they find is put together in one."""

    def __init__(self, lab: KubernetesLab, plan: Plan, timeout: float) -> None:
        self._lab, self._plan, self._timeout = lab, plan, timeout
        self.gaps: list[str] = []
        self._vantages: dict[Pod, Vantage | CannotLook] = {}
        self._listeners: dict[Pod, Listener] = {}
        self._found: dict[Path, Found] = {}
        self._controls: dict[tuple[Pod, str], Found] = {}
        self._ever_reached: set[Path] = set()
        self._unconfirmed: dict[Path, CannotLook] = {}

    def run(self) -> list[Probed]:
        """Ask all paths and say what became of each."""
        whole = {path.source for path in self._plan.paths if path.protocol == "UDP"}
        whole |= self._plan.listeners
        pods = dict.fromkeys(
            [path.source for path in self._plan.paths] + list(self._plan.listeners)
        )
        opened = at_once(lambda pod: open_vantage(self._lab, pod, whole=pod in whole), pods)
        self._vantages.update(opened)
        with ExitStack() as stack:
            self._listen(stack)
            self._ask(self._plan.paths, first=True)
            self._ask_again()
            self._stop_listening()
        return [self._weigh(path) for path in self._plan.paths]

    def _ask_again(self) -> None:
        """Give policies the time to take hold: ask what surprises again, until nothing changes."""
        surprising: list[Path] = []
        for _ in range(_REPEATS):
            before = surprising
            surprising = [path for path in self._plan.paths if self._surprises(path)]
            if surprising == before:
                break
            time.sleep(_PAUSE_SECONDS)
            self._ask(surprising)

    @property
    def inhabited(self) -> dict[Pod, Vantage]:
        """Where programs ran."""
        return {pod: v for pod, v in self._vantages.items() if isinstance(v, Vantage)}

    def _listen(self, stack: ExitStack) -> None:
        ports = [("tcp", LISTENER_PORT), ("udp", LISTENER_PORT)]

        def start(pod: Pod) -> Listener:
            vantage = self._vantages[pod]
            if isinstance(vantage, CannotLook):
                raise vantage
            if not vantage.python:
                raise CannotLook("it has only a shell")
            block = listening(vantage.start(self._lab), ports)
            return stack.enter_context(block)

        for pod, started in at_once(start, self._plan.listeners).items():
            if isinstance(started, Listener):
                self._listeners[pod] = started
            else:
                self.gaps.append(f"nothing can listen in {pod}: {started}")

    def _stop_listening(self) -> None:
        """A listener that is gone by now proves nothing."""
        ended = at_once(lambda pod: self._listeners[pod].stop(), list(self._listeners))
        for pod, answer in ended.items():
            if isinstance(answer, CannotLook):
                del self._listeners[pod]
                self.gaps.append(f"the listener in {pod} did not last: {answer}")

    def _ask(self, paths: Iterable[Path], first: bool = False) -> None:
        """Ask these paths, all of one source in one go; first of all each source's controls."""
        by_source: dict[Pod, list[Path]] = {pod: [] for pod in self.inhabited} if first else {}
        for path in paths:
            by_source.setdefault(path.source, []).append(path)

        def asked(pod: Pod) -> list[Found]:
            vantage = self._vantages[pod]
            if isinstance(vantage, CannotLook):
                raise vantage
            probes = [self._probe(path, str(n)) for n, path in enumerate(by_source[pod])]
            controls = control_probes(pod, self._timeout) if first else []
            return vantage.ask(self._lab, probes + controls) if probes or controls else []

        for pod, answer in at_once(asked, by_source).items():
            if isinstance(answer, CannotLook):
                if first:
                    self._vantages[pod] = answer
                self._unconfirmed.update(dict.fromkeys(by_source[pod], answer))
                continue
            for path in by_source[pod]:
                self._unconfirmed.pop(path, None)
            for found in answer:
                self._take(pod, by_source[pod], found)

    def _take(self, pod: Pod, paths: list[Path], found: Found) -> None:
        if not found.id.isdigit():
            self._controls[pod, found.id] = found
            return
        path = paths[int(found.id)]
        self._found[path] = found
        if self._reached(path):
            self._ever_reached.add(path)

    def _probe(self, path: Path, number: str) -> Probe:
        return Probe(
            id=number,
            protocol="dns" if path.how == "dns" else "tcp" if path.protocol == "TCP" else "udp",
            host=path.destination.address,
            port=path.port,
            name=ANY_NAME if path.how == "dns" else "",
            payload=_PAYLOAD if path.how in ("listener", "datagram") else "",
            timeout=self._timeout,
            attempts=_ATTEMPTS,
        )

    def _reached(self, path: Path) -> bool:
        """Whether a probe's answer came from the other end."""
        found = self._found.get(path)
        if found is None:
            return False
        if path.how == "listener" and isinstance(path.destination, Pod):
            listener = self._listeners.get(path.destination)
            return listener is not None and found.detail.answer == listener.nonce.encode()
        return is_answer(found)

    def _surprises(self, path: Path) -> bool:
        return path in self._found and self._reached(path) is path.denied

    def _weigh(self, path: Path) -> Probed:
        reason = self._doubt(path)
        if reason:
            return Probed(path=path, outcome="not told", reason=reason)
        if gap := self._surprises(path) and self._unconfirmed.get(path):
            what = "got through" if path.denied else "was blocked"
            reason = f"{path} {what} at first and could not be asked again: {gap}"
            return Probed(path=path, outcome="unconfirmed", reason=reason)
        outcome: Outcome = "as expected"
        if self._surprises(path):
            outcome = "got through" if path.denied else "blocked"
        return Probed(path=path, outcome=outcome, ms=self._found[path].ms)

    def _doubt(self, path: Path) -> str:
        """Why the answer of a path says nothing; empty if it does."""
        vantage = self._vantages[path.source]
        if isinstance(vantage, CannotLook):
            return str(vantage)
        if path not in self._found:
            return f"{path.source} has only a shell, which can't ask it"
        proxy = {"connect": MIRAGE, "dns": ORACLE}.get(path.how)
        if proxy and self._succeeded(path.source, proxy):
            return f"a proxy in {path.source} answers in the name of every address"
        if self._reached(path):
            return ""
        if path.how == "listener" and self._found[path].outcome in _OPENED:
            return f"something between {path.source} and {path.destination} answers"
        if not self._answers(path):
            return f"nothing shows that {path.destination} answers at {path.port}/{path.protocol}"
        if not self._works(vantage):
            return f"nothing shows that {path.source} reaches anything"
        return ""

    def _answers(self, path: Path) -> bool:
        """Positive control: it answers somebody."""
        if path.how == "listener":
            return path.destination in self._listeners
        return path.answers or any(p.place == path.place for p in self._ever_reached)

    def _works(self, vantage: Vantage) -> bool:
        """Negative control: the prober reaches something, or its pod's network is known to work."""
        pod = vantage.pod
        reaches = self._succeeded(pod, NODE) or any(p.source is pod for p in self._ever_reached)
        if not vantage.python:
            return reaches
        return (
            reaches or bool(pod.answering) or any(p.destination is pod for p in self._ever_reached)
        )

    def _succeeded(self, pod: Pod, control: str) -> bool:
        found = self._controls.get((pod, control))
        return found is not None and is_answer(found)


def at_once(
    do: Callable[[Pod], Result], pods: Iterable[Pod]
) -> "Mapping[Pod, Result | CannotLook]":
    """Do something in many pods at the same time; why it could not be done is an answer, too."""

    def kept(pod: Pod) -> Result | CannotLook:
        try:
            return do(pod)
        except CannotLook as gap:
            return gap

    wanted = list(pods)
    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(zip(wanted, threads.map(kept, wanted), strict=True))
