"""Checks by name, with typed parameters.

A check is a pure function over the model. Its first parameter says what it is asked about
(`Workload`, `Container`, `Service`, ...); the others are the policy's `params`.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook, PackError, UsageError
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.quantities import whole_bytes
from pytest_containerpolicy.model.refs import ObjectRef

CheckFunction = Callable[..., Iterator["Violation"]]
Function = TypeVar("Function", bound=CheckFunction)


class Bytes(int):
    """A parameter in bytes; packs write `256Mi` or a number."""


class Violation(Struct, frozen=True, kw_only=True):
    """What a check found wrong with the object it was asked about.

    `found` and `wanted` are short phrases in the platform's own words; `path` leads from the
    object to the place, `why` says what follows from it on this very object.
    """

    found: str
    wanted: str
    path: str = ""
    why: str = ""


class Finding(Struct, frozen=True, kw_only=True):
    """One violation on one object; `container` is empty where the object as a whole is meant."""

    ref: ObjectRef
    violation: Violation
    container: str = ""

    @property
    def subject(self) -> str:
        """The object for people: `Deployment shop/web, container app`."""
        return f"{self.ref}, container {self.container}" if self.container else str(self.ref)


class Judgement(Struct, kw_only=True):
    """What one check says of one model: how many objects it judged, what it found and missed."""

    judged: int = 0
    findings: list[Finding] = msgspec.field(default_factory=list)
    gaps: list[str] = msgspec.field(default_factory=list)


class Check(Struct, frozen=True, kw_only=True):
    """A registered check. `applies` leaves out the objects on which there is nothing to judge."""

    name: str
    function: CheckFunction
    noun: type[Any]
    parameters: dict[str, inspect.Parameter]
    types: dict[str, Any]
    applies: Callable[..., bool]

    def convert(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The params of a policy as the check's types. Raises `PackError` naming the key."""
        unknown = sorted(set(params) - set(self.parameters))
        if unknown:
            allowed = ", ".join(self.parameters) or "none"
            raise PackError(
                f"params.{unknown[0]}: check {self.name} has no such parameter ({allowed})"
            )
        missing = [
            name
            for name, parameter in self.parameters.items()
            if parameter.default is parameter.empty and name not in params
        ]
        if missing:
            raise PackError(f"params.{missing[0]}: check {self.name} needs this parameter")
        return {name: self._convert(name, value) for name, value in params.items()}

    def _convert(self, name: str, value: Any) -> Any:
        try:
            return msgspec.convert(value, self.types[name], dec_hook=_parse)
        except (msgspec.ValidationError, UsageError) as error:
            raise PackError(f"params.{name}: {error}, found {value!r}") from None

    def judge(
        self,
        model: Model,
        params: Mapping[str, Any],
        covers: Callable[[ObjectRef], bool] | None = None,
    ) -> Judgement:
        """Ask the check about every object of its noun that `covers` admits.

        What can't be looked at becomes a gap.
        """
        judgement = Judgement(gaps=[str(gap) for gap in model.gaps(self.noun)])
        for subject in model.all(self.noun):
            if covers is None or covers(ref_of(subject)):
                self._judge_one(subject, params, judgement)
        return judgement

    def subjects(
        self,
        model: Model,
        params: Mapping[str, Any],
        covers: Callable[[ObjectRef], bool] | None = None,
    ) -> Iterator[str]:
        """The objects that `judge` would ask about, by name. Raises `CannotLook`."""
        for subject in model.all(self.noun):
            if (covers is None or covers(ref_of(subject))) and self.applies(subject, **params):
                yield _finding(subject, Violation(found="", wanted="")).subject

    def _judge_one(self, subject: Any, params: Mapping[str, Any], judgement: Judgement) -> None:
        violations: list[Violation] = []
        try:
            if not self.applies(subject, **params):
                return
            # What was found stays found, even if something could not be looked at after it.
            for violation in self.function(subject, **params):
                violations.append(violation)  # noqa: PERF402
        except CannotLook as gap:
            if str(gap) not in judgement.gaps:
                judgement.gaps.append(str(gap))
            if not violations:
                return
        judgement.judged += 1
        judgement.findings.extend(_finding(subject, violation) for violation in violations)


def ref_of(subject: Any) -> ObjectRef:
    """The object that a noun belongs to."""
    ref: ObjectRef = subject.workload.ref if isinstance(subject, Container) else subject.ref
    return ref


def _finding(subject: Any, violation: Violation) -> Finding:
    if isinstance(subject, Container):
        ref, name = subject.workload.ref, subject.name
        # A plain container or a Compose service is its own only container.
        return Finding(
            ref=ref, violation=violation, container=name if subject.workload.pod_path else ""
        )
    return Finding(ref=subject.ref, violation=violation)


def _parse(kind: type, value: Any) -> Any:
    if kind is Bytes and isinstance(value, int | str):
        return Bytes(whole_bytes(value))
    if kind is re.Pattern and isinstance(value, str):
        return re.compile(value)
    raise NotImplementedError(f"no conversion to {kind}")


REGISTRY: dict[str, Check] = {}


def check(
    applies: Callable[..., bool] | None = None,
) -> Callable[[Function], Function]:
    """Register a check under its function's name.

    `applies(subject)` is false for objects on which there is nothing to judge: when no object
    is left, the verdict is `not applicable`. It may name params of the check and gets those.

        @check()
        def memory_limit_set(container: Container, at_most: Bytes) -> Iterator[Violation]: ...
    """

    def register(function: Function) -> Function:
        made = make_check(function, applies)
        earlier = REGISTRY.get(made.name)
        if earlier and earlier.function.__module__ != function.__module__:
            raise PackError(f"check {made.name} exists already: choose another name")
        REGISTRY[made.name] = made
        return function

    return register


def make_check(
    function: CheckFunction,
    applies: Callable[..., bool] | None = None,
    skip: Collection[str] = (),
) -> Check:
    """What a function's signature says: its noun, and its params but those of `skip`."""
    hints = get_type_hints(function)
    subject, *rest = inspect.signature(function).parameters.values()
    params = [parameter for parameter in rest if parameter.name not in skip]
    return Check(
        name=function.__name__,
        function=function,
        noun=hints[subject.name],
        parameters={parameter.name: parameter for parameter in params},
        types={parameter.name: hints[parameter.name] for parameter in params},
        applies=_with_own_params(applies or (lambda _: True)),
    )


def _with_own_params(applies: Callable[..., bool]) -> Callable[..., bool]:
    """`applies`, taking all params of a check and passing on those that it names."""
    own = set(inspect.signature(applies).parameters)
    return lambda subject, **params: applies(
        subject, **{name: value for name, value in params.items() if name in own}
    )


def find_check(name: str) -> Check:
    """A registered check by name. Raises `PackError` that lists near names."""
    from difflib import get_close_matches

    from pytest_containerpolicy.checks import load_builtin_checks

    load_builtin_checks()
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, n=3) or sorted(REGISTRY)
        raise PackError(f"check: no check is called {name!r}; did you mean {', '.join(near)}?")
    return REGISTRY[name]
