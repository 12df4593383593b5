"""All copies of a target's containers, looked up and read together when first one is asked for."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.inside.copies import Copy, Place, concurrently
from pytest_containerpolicy.experiments.inside.engines import Engines
from pytest_containerpolicy.experiments.inside.pods import Pods
from pytest_containerpolicy.experiments.inside.processes import Process
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_exec import NOT_FOUND_CODE, Output

Arguments = Callable[[Copy], Sequence[str] | None]
Sections = list[tuple[str, str]]
_FEW = 3
_NO_PROGRAM = (126, NOT_FOUND_CODE)
_END = "end"


def copies(container: Container, lab: Lab) -> list[Copy]:
    """The copies of a declared container, in whatever state. Raises `CannotLook` if none is."""
    workload = container.workload
    found = _all_copies(lab, container.model).get(workload.ref, [])
    if isinstance(found, CannotLook):
        raise found
    own = [copy for copy in found if copy.container is container]
    if not own:
        raise CannotLook(f"{workload.ref} has no copy that runs: there is nothing to look into")
    return own


def in_every_copy(
    container: Container, lab: Lab, judge: Callable[[Copy], Iterable[Violation]]
) -> Iterator[Violation]:
    """Ask a question about each copy; what is wrong with several copies alike is one violation.

    Raises `CannotLook`, after what was found, if some copies could not be asked.
    """
    found: defaultdict[Violation, dict[str, list[str]]] = defaultdict(dict)
    gaps: dict[str, list[str]] = {}
    for copy in copies(container, lab):
        try:
            for one in judge(copy):
                found[replace(one, found="")].setdefault(one.found, []).append(copy.name)
        except CannotLook as gap:
            gaps.setdefault(str(gap), []).append(copy.name)
    for violation, texts in found.items():
        told = [f"{text} in {few(names)}" for text, names in texts.items()]
        yield replace(violation, found=few(told, "; "))
    if gaps:
        told = [f"{few(names)}: {gap}" for gap, names in gaps.items()]
        raise CannotLook(f"{container.workload.ref}, {few(told, '; ')}")


def read(copy: Copy, lab: Lab, program: str, arguments: Arguments) -> Sections:
    """What a program prints in a copy: titles and the lines below them. Raises `CannotLook`.

    `program` names `PROGRAM.sh` of this folder, which runs in the copy's own shell; `beside.py`
    does the same beside a copy without a shell, and looks through `/proc/PID/root`. Their first
    argument is `shared` where process 1 may be another container's, else `own`; `arguments` gives
    the others, and None for copies that are not to be read.
    """
    copy.require_running()
    model = copy.container.model
    answers = lab.once(
        (program, model), lambda: _Reading(lab, program, arguments).of(_running(lab, model))
    )
    answer = answers[copy]
    if isinstance(answer, CannotLook):
        raise answer
    return parse_sections(answer)


def read_as(owner: Process, copy: Copy, lab: Lab, program: str, arguments: Arguments) -> Sections:
    """What a program prints beside a copy, as the user and group of a process of it.

    A program in the copy's own shell runs as whoever the copy is started as. Raises `CannotLook`.
    """
    copy.require_running()
    return parse_sections(_Reading(lab, program, arguments).beside(copy, owner))


def few(names: Sequence[str], separator: str = ", ") -> str:
    """The first names of a list, and how many more there are."""
    shown = separator.join(names[:_FEW])
    return f"{shown} and {len(names) - _FEW} more" if len(names) > _FEW else shown


def _place(lab: Lab) -> Place:
    return Pods(lab) if isinstance(lab, KubernetesLab) else Engines(cast(DockerLab, lab))


def _all_copies(lab: Lab, model: Model) -> dict[ObjectRef, list[Copy] | CannotLook]:
    def look() -> dict[ObjectRef, list[Copy] | CannotLook]:
        place, covers = _place(lab), lab.target.covers
        workloads = [one for one in model.all(Workload) if covers(one.kind, one.name)]
        found = concurrently(lambda workload: list(place.copies(workload)), workloads)
        return {workload.ref: copies for workload, copies in zip(workloads, found, strict=True)}

    return lab.once(("copies", model), look)


def _running(lab: Lab, model: Model) -> list[Copy]:
    found = _all_copies(lab, model).values()
    copies = [copy for one in found if not isinstance(one, CannotLook) for copy in one]
    return [copy for copy in copies if not copy.down]


class _Reading:
    """One program, run for many copies at once."""

    def __init__(self, lab: Lab, program: str, arguments: Arguments) -> None:
        self._lab = lab
        self._place = _place(lab)
        self._program = program
        self._arguments = arguments

    def of(self, asked: Sequence[Copy]) -> dict[Copy, Output | CannotLook]:
        asked = [copy for copy in asked if self._arguments(copy) is not None]
        self._lab.say(f"looking into {len(asked)} containers")
        outputs = dict(zip(asked, concurrently(self._in_shell, asked), strict=True))
        shell_less = [copy for copy, output in outputs.items() if _lacks_shell(output)]
        beside = concurrently(self.beside, shell_less, self._place.workers)
        outputs |= zip(shell_less, beside, strict=True)
        return outputs

    def _in_shell(self, copy: Copy) -> Output:
        source = _source(f"{self._program}.sh")
        return self._place.execute(copy, ["sh", "-c", source, "sh", *self._words(copy)])

    def beside(self, copy: Copy, owner: Process | None = None) -> Output:
        words = [self._program, copy.id, *self._words(copy)]
        return self._place.execute_beside(copy, _source("beside.py"), words, owner)

    def _words(self, copy: Copy) -> list[str]:
        mode = "own" if self._place.has_own_processes(copy) else "shared"
        return [mode, *(self._arguments(copy) or ())]


def _lacks_shell(output: Output | CannotLook) -> bool:
    return isinstance(output, Output) and output.code in _NO_PROGRAM


def parse_sections(output: Output) -> Sections:
    """What a program of this folder printed. Raises `CannotLook` if it did not get to its end."""
    parts = (part.partition("\n") for part in output.out.removeprefix("@@").split("\n@@"))
    sections = [(title.strip(), lines) for title, _, lines in parts]
    if sections[-1][0] == _END:
        return sections[:-1]
    words = " ".join(output.err.split()) or f"exit code {output.code}"
    raise CannotLook(f"could not be read from inside: {words}")


@cache
def _source(name: str) -> str:
    return (Path(__file__).parent / name).read_text()
