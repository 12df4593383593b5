"""Experiments by name: checks that need a laboratory, and say what they do in it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from pytest_containerpolicy.checks.registry import Check, CheckFunction, make_check
from pytest_containerpolicy.errors import PackError
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.vocabulary import Level

Function = TypeVar("Function", bound=CheckFunction)
REGISTRY: dict[str, "Experiment"] = {}


class Experiment(Check, frozen=True, kw_only=True):
    """A registered experiment. `does` says in a few words what it does to each subject."""

    level: Level
    does: str

    def using(self, lab: Lab) -> Check:
        """The same question, asked in a laboratory."""
        return replace(
            self,
            function=partial(self.function, lab=lab),
            applies=partial(self.applies, lab=lab),
        )


def experiment(
    level: Level, does: str, applies: Callable[..., bool] | None = None
) -> Callable[[Function], Function]:
    """Register an experiment under its function's name.

    The first parameter says what it is asked about, `lab` is where it acts, the others are the
    policy's `params`. `level` is the least that a run must be allowed to do. Yields violations;
    raises `CannotLook` where it could not be carried out.

        @experiment("disrupt", "restarts its rollout under traffic", applies=is_served)
        def no_downtime(workload: Workload, lab: Lab, failed: int = 0) -> Iterator[Violation]: ...
    """

    def register(function: Function) -> Function:
        made = make_check(function, applies, skip=("lab",))
        earlier = REGISTRY.get(made.name)
        if earlier and _module(earlier.function) != function.__module__:
            raise PackError(f"experiment {made.name} exists already: choose another name")
        REGISTRY[made.name] = Experiment(
            name=made.name,
            function=made.function,
            noun=made.noun,
            parameters=made.parameters,
            types=made.types,
            applies=made.applies,
            level=level,
            does=does,
        )
        return function

    return register


def _module(function: CheckFunction) -> str:
    return str(function.__module__)


def find_experiment(name: str) -> Experiment:
    """A registered experiment by name. Raises `PackError` that lists near names."""
    from difflib import get_close_matches

    from pytest_containerpolicy.experiments import load_builtin_experiments

    load_builtin_experiments()
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, n=3) or sorted(REGISTRY)
        raise PackError(
            f"experiment: no experiment is called {name!r}; did you mean {', '.join(near)}?"
        )
    return REGISTRY[name]
