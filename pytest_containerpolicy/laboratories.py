"""The laboratories of one run: made when an experiment first needs one, closed at its end."""

from collections.abc import Callable, Iterable, Iterator

from pytest_containerpolicy.errors import ContainerPolicyError, UsageError
from pytest_containerpolicy.experiments.lab import PROBER_IMAGE, Lab, LabOptions, open_lab
from pytest_containerpolicy.experiments.registry import Experiment
from pytest_containerpolicy.experiments.restore import reminders, restore
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.options import Settings
from pytest_containerpolicy.policies import Policy
from pytest_containerpolicy.readings import Readings
from pytest_containerpolicy.targets.uri import Target, Timeouts, parse_targets
from pytest_containerpolicy.vocabulary import LEVELS, Level

_SCOPED = (Workload, Container)


class Laboratories:
    """Where the experiments of a run act. `progress` shows a line to whoever watches.

    Raises `UsageError` as `lab_options` does.
    """

    def __init__(
        self, settings: Settings, readings: Readings, progress: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._readings = readings
        self._options = lab_options(settings, progress)
        self._labs: dict[str, Lab] = {}

    def of(self, target_id: str) -> Lab:
        """The laboratory of a target."""
        if target_id not in self._labs:
            target = self._readings.targets[target_id]
            self._labs[target_id] = open_lab(target, timeouts_of(self._settings), self._options)
        return self._labs[target_id]

    def close(self) -> None:
        """Let go of all of them."""
        for lab in self._labs.values():
            lab.close()

    def covers(self, policy: Policy, target_id: str) -> Callable[[ObjectRef], bool] | None:
        """What of a target an experiment may act on; None for all that there is."""
        if not isinstance(policy.check, Experiment) or policy.check.noun not in _SCOPED:
            return None
        target = self._readings.targets[target_id]
        return lambda ref: target.covers(ref.kind, ref.name)

    def plan(self, pairs: Iterable[tuple[Policy, str]], least: Level) -> Iterator[str]:
        """What the experiments of at least a level will do to what, a line each."""
        for policy, target_id in pairs:
            check = policy.check
            if isinstance(check, Experiment) and is_allowed(least, check.level):
                subjects = self._subjects(check, policy, target_id)
                yield f"{policy.id} on {target_id} {check.does}: {subjects}"

    def _subjects(self, check: Experiment, policy: Policy, target_id: str) -> str:
        try:
            model = self._readings.model(target_id)
            covers = self.covers(policy, target_id)
            # What an experiment applies to may depend on what the laboratory knows: a given URL.
            asked = check.using(self.of(target_id))
            found = list(asked.subjects(model, policy.params, covers))
            found += [f"could not look: {gap}" for gap in model.gaps(check.noun)]
        except ContainerPolicyError as error:
            return f"could not look: {error}"
        return ", ".join(found) or "nothing"

    def restore(self) -> Iterator[str]:
        """Undo what dead runs left on this run's targets; says what was done.

        Raises `UsageError` if something there could not be undone.
        """
        own = {target.durable_uri for target in self._readings.targets.values() if target.is_live}
        said: list[str] = []
        image = self._settings.prober_image
        problems = restore(timeouts_of(self._settings), said.append, own, image)
        yield from said
        if problems:
            raise UsageError("; ".join(problems))
        yield from reminders(own)


def lab_options(settings: Settings, progress: Callable[[str], None]) -> LabOptions:
    """What the settings say of experiments. Raises `UsageError` for URLs of several targets."""
    if settings.urls and settings.level != "observe":
        _require_one(parse_targets(settings.targets))
    return LabOptions(
        level=settings.level,
        prober_image=settings.prober_image or PROBER_IMAGE,
        urls=settings.urls,
        progress=progress,
    )


def _require_one(targets: Iterable[Target]) -> None:
    """Raise `UsageError` for several live targets: whose workload a URL leads to is not said."""
    live = [target.id for target in targets if target.is_live]
    if len(live) > 1:
        raise UsageError(
            f"--cp-url: allowed with one live target, here are {len(live)} ({', '.join(live)}):"
            " give each a run of its own"
        )


def timeouts_of(settings: Settings) -> Timeouts:
    """The timeouts of a run."""
    return Timeouts(connect=settings.connect_timeout, read=settings.timeout)


def is_allowed(needed: Level, level: Level) -> bool:
    """Whether a level is enough for what is needed."""
    return LEVELS.index(needed) <= LEVELS.index(level)


def require_scope(policies: Iterable[Policy], targets: Iterable[Target]) -> None:
    """Raise `UsageError` for a live target that does not name what may be disrupted."""
    if not any(policy.level == "disrupt" for policy in policies):
        return
    for target in targets:
        if target.is_live and not target.names_scope:
            raise UsageError(
                f"{target.uri}: --cp-level=disrupt restarts and drains what the URI names, and this"
                f" one names nothing: write for example {target.scope_example}"
            )
