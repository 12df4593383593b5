"""Places to probe from with a pod's own network identity, by the least that its image allows."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import ceil

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, Refused
from pytest_containerpolicy.experiments.kubernetes_probers import (
    LONGEST,
    RESTRICTED,
    debugger,
    start_prober,
)
from pytest_containerpolicy.experiments.prober_streams import LineStream
from pytest_containerpolicy.experiments.reach import Detail, Found, Probe, ask
from pytest_containerpolicy.experiments.reachability import Pod
from pytest_containerpolicy.targets.kubernetes_failures import FORBIDDEN

_HAS_PYTHON = ["python3", "-c", "import sys; sys.exit(sys.version_info < (3, 8))"]
_HAS_TOOL = ["sh", "-c", "command -v timeout && { command -v nc || command -v bash; }"]
# A few at a time: the container may be allowed few processes, and what can't start says nothing.
# Without -z, nc stays connected: `timeout` ends it (124, or 143 of BusyBox) after its own limit.
_SHELL = """
case "$(nc -h 2>&1)" in *-z*) tool=scan;; *nc*-w*) tool=stay;; *) tool=bash;; esac
one() {
  case $tool in
    scan) nc -z -w "$2" "$3" "$4";;
    stay) timeout $(($2 + 1)) nc -w "$2" "$3" "$4";;
    bash) timeout "$2" bash -c '</dev/tcp/$0/$1' "$3" "$4";;
  esac </dev/null >/dev/null 2>&1
  case $?$tool in 0*|124stay|143stay) echo "$1 open";; *) echo "$1 closed";; esac
}
while [ $# -gt 0 ]; do
  n=0
  while [ $# -gt 0 ] && [ $n -lt 8 ]; do one "$1" "$2" "$3" "$4" & shift 4; n=$((n+1)); done
  wait
done
"""
# What fits well into a URL, which is how the words get there.
_PART = 64
_SHELL_SECONDS = 60.0
_SPARE_SECONDS = 180.0


class Vantage(Struct, frozen=True, kw_only=True):
    """A pod's container from which ports can be asked; without `python` TCP ports only."""

    pod: Pod
    container: str
    python: bool = True

    def start(self, lab: KubernetesLab) -> LineStream:
        """A prober there. Raises `Refused`."""
        return start_prober(lab, self.pod.namespace, self.pod.name, self.container)

    def ask(self, lab: KubernetesLab, probes: Sequence[Probe]) -> list[Found]:
        """What was found; a shell leaves out what it can't tell. Raises `CannotLook`."""
        if self.python:
            return ask(self.start(lab), probes)
        asked = [probe for probe in probes if probe.protocol == "tcp" and not probe.payload]
        parts = [asked[start : start + _PART] for start in range(0, len(asked), _PART)]
        return [found for part in parts for found in self._ask_shell(lab, part)]

    def _ask_shell(self, lab: KubernetesLab, probes: Sequence[Probe]) -> Iterator[Found]:
        words = [
            word
            for number, probe in enumerate(probes)
            for word in (str(number), f"{ceil(probe.timeout)}", probe.host, str(probe.port))
        ]
        output = lab.execute(
            self.pod.namespace,
            self.pod.name,
            ["sh", "-c", _SHELL, "sh", *words],
            container=self.container,
            seconds=_SHELL_SECONDS,
        )
        said = dict(line.split() for line in output.out.splitlines() if line.count(" ") == 1)
        for number, probe in enumerate(probes):
            if outcome := said.get(str(number)):
                yield Found(id=probe.id, outcome=outcome, ms=0, attempts=1, detail=Detail())


def open_vantage(lab: KubernetesLab, pod: Pod, *, whole: bool) -> Vantage:
    """Where to probe from in a pod: its own container, else one of the prober's image beside it.

    `whole` asks for what a shell can't do: UDP and listening; where that is not to be had, a
    shell must do. Raises `CannotLook` that says which rights and programs are missing.
    """
    if _runs(lab, pod, _HAS_PYTHON):
        return Vantage(pod=pod, container=pod.container)
    shell = Vantage(pod=pod, container=pod.container, python=False)
    if not whole and _runs(lab, pod, _HAS_TOOL):
        return shell
    try:
        return Vantage(pod=pod, container=_beside(lab, pod))
    except CannotLook as gap:
        if whole and _runs(lab, pod, _HAS_TOOL):
            return shell
        needs = "; needs the right to patch pods/ephemeralcontainers" if _forbidden(gap) else ""
        raise CannotLook(f"pod {pod} has no python3, nor nc in a shell, and {gap}{needs}") from None


def _runs(lab: KubernetesLab, pod: Pod, argv: Sequence[str]) -> bool:
    """Whether a program is there and content. Raises `CannotLook` if exec is not allowed."""
    try:
        output = lab.execute(pod.namespace, pod.name, argv, container=pod.container)
    except Refused as refusal:
        needs = " (create pods/exec)" if _forbidden(refusal) else ""
        raise CannotLook(f"{refusal}{needs}") from None
    return output.code == 0


def _forbidden(gap: CannotLook) -> bool:
    return isinstance(gap, Refused) and gap.status == FORBIDDEN


def _beside(lab: KubernetesLab, pod: Pod) -> str:
    """A container of ours in the pod: one that still runs long enough, or a new one."""
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
    document = lab.get(path)
    for status in document["status"].get("ephemeralContainerStatuses") or ():
        if status["name"].startswith("containerpolicy-") and _lasts(status):
            return str(status["name"])
    return debugger(lab, document, "", security=RESTRICTED)


def _lasts(status: Document) -> bool:
    running = (status.get("state") or {}).get("running")
    if not running:
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(running["startedAt"])
    return age.total_seconds() < LONGEST - _SPARE_SECONDS
