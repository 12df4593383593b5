"""Where experiments act: one live target in one run, with a journal behind every change."""

import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from msgspec import Struct, field

from pytest_containerpolicy.errors import (
    CannotLook,
    ContainerPolicyError,
    NotRestored,
    Unreachable,
)
from pytest_containerpolicy.experiments.journal import Entry, Journal, state_folder
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.uri import Target, Timeouts, split_uri
from pytest_containerpolicy.vocabulary import LEVELS, Level

Answer = TypeVar("Answer")
Undo = Callable[..., None]
RUN_LABEL = "containerpolicy/run"
PROTECTED_LABEL = "containerpolicy/disrupt"
PROBER_IMAGE = "python:3-alpine"
_POLL = 0.2
_OUTAGE_SECONDS = 60.0
_OUTAGE_PAUSE = 1.0


class LabOptions(Struct, frozen=True, kw_only=True):
    """What a run may do and where from.

    `prober_image` is any image with a `python3`; `urls` leads from `[NAMESPACE/][KIND/]NAME` to the
    URL that clients of a workload use; `progress` shows a line to whoever watches.
    """

    level: Level = "observe"
    prober_image: str = PROBER_IMAGE
    urls: Mapping[str, str] = field(default_factory=dict)
    progress: Callable[[str], None] = lambda _: None


class TookTooLong(CannotLook):
    """What an experiment waited for did not come."""


class Away(CannotLook):
    """The environment did not answer, or said that it can't now; a moment later it may."""


UNDO: dict[str, Undo] = {}


def undo(function: Undo) -> Undo:
    """Register a function that takes a change back: `(lab, **arguments)`.

    It must be idempotent, leave alone what it does not find as the change left it, and return only
    when it has verified that the change is gone; it raises `CannotLook` if it is not.
    """
    earlier = UNDO.setdefault(function.__name__, function)
    if earlier.__module__ != function.__module__:
        raise ValueError(f"two modules have an undo called {function.__name__}")
    UNDO[function.__name__] = function
    return function


class Lab(ABC):
    """One live target. `run` names this run: whatever it creates carries it as a label."""

    def __init__(
        self,
        target: Target,
        timeouts: Timeouts,
        options: LabOptions,
        journal: Journal | None = None,
    ) -> None:
        self.target = target
        self.timeouts = timeouts
        self.options = options
        self.figures: list[str] = []
        self._journal = journal
        self._answers: dict[Hashable, Any] = {}
        self._away_since: float | None = None
        self._opening = threading.Lock()
        # Threads of whoever makes an answer may open the journal meanwhile.
        self._answering = threading.RLock()

    @property
    def platform(self) -> str:
        """The target's platform."""
        return self.target.platform or ""

    @property
    def journal(self) -> Journal:
        """The run's journal, made when first something is to be written down."""
        with self._opening:
            if self._journal is None:
                self._journal = Journal(state_folder(), new_run())
            return self._journal

    @property
    def run(self) -> str:
        """The run's name."""
        return self.journal.run

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells this environment from any other, whatever it is called."""

    @abstractmethod
    def claim(self, workload: Workload) -> AbstractContextManager[None]:
        """Hold a workload so that no other run disrupts it meanwhile.

        Raises `CannotLook` if another run holds it, if this run's level or URI does not allow to
        disrupt it, or if it is protected.
        """

    def close(self) -> None:
        """Let go of everything that is open."""
        if self._journal is not None:
            self._journal.close()

    def say(self, text: str) -> None:
        """Tell whoever watches what is going on."""
        self.options.progress(text)

    def record(self, text: object) -> None:
        """Keep a measurement for the report, whatever the verdict."""
        self.figures.append(str(text))

    def url_of(self, workload: Workload) -> str:
        """The URL that the user gave for a workload; empty if none.

        Raises `CannotLook` if what the user called it may be another workload.
        """
        for name in _names(workload.ref):
            if url := self.options.urls.get(name):
                self._require_only(workload, name)
                return url
        return ""

    def _require_only(self, workload: Workload, name: str) -> None:
        namespace = workload.namespace
        others = [
            str(other.ref)
            for other in workload.model.all(Workload)
            if name in _names(other.ref) and other.ref != workload.ref
        ]
        # One namespace in the URI makes a plain name clear. Others may not have been read.
        named = set(split_uri(self.target.uri).values("namespace"))
        if namespace and not name.startswith(f"{namespace}/") and named != {namespace}:
            others.append(f"one of a namespace other than {namespace}")
        if others:
            raise CannotLook(
                f"{workload.ref}: --cp-url {name}=URL may mean {' or '.join(others)}: write"
                f" {_names(workload.ref)[0]}=URL"
            )

    def once(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """What `make` gave when it was first asked for in this run; a failure is kept as well."""
        with self._answering:
            if key not in self._answers:
                try:
                    self._answers[key] = make()
                except CannotLook as gap:
                    self._answers[key] = gap
            answer = self._answers[key]
        if isinstance(answer, CannotLook):
            raise answer
        return answer  # type: ignore[no-any-return]

    @contextmanager
    def undoing(self, undo_function: Undo, what: str, **arguments: Any) -> Iterator[Entry]:
        """Write down how to undo what the block does, before it; undo it after, come what may.

        `what` describes the change as it stands if it is not undone: `node a is cordoned`.
        A block that knows that nothing was changed marks the entry as done in the journal.
        Raises `NotRestored` if it could not be undone; the journal then keeps it. If what ends the
        block is to end the run, as Ctrl-C is, that is only said.
        """
        name, uri, identity = undo_function.__name__, self.target.durable_uri, self.identity
        image = self.options.prober_image
        entry = self.journal.add(name, what, uri, identity, arguments, prober_image=image)
        try:
            yield entry
        except BaseException as ending:
            self._settle(entry, ends_run=not isinstance(ending, Exception))
            raise
        self._settle(entry)

    def _settle(self, entry: Entry, *, ends_run: bool = False) -> None:
        if entry not in self.journal.pending:
            return
        try:
            self.take_back(entry, self.journal)
        except NotRestored as left:
            if not ends_run:
                raise
            # An error in its place would count as one gap, and the run go on to disrupt.
            self.say(str(left))

    def take_back(self, entry: Entry, journal: Journal) -> None:
        """Undo one change and mark it as undone; an outage is waited for. Raises `NotRestored`."""
        try:
            self._undo(entry)
        except Exception as error:
            # Whatever it is: other changes are still to be undone, and the journal keeps this one.
            raise NotRestored(
                f"not restored: {entry.what}: {_reason(error)};"
                " run `containerpolicy restore` once that is mended"
            ) from error
        journal.done(entry)

    def _undo(self, entry: Entry) -> None:
        """Try again while the environment is away. One outage is waited for once in all."""
        while True:
            try:
                UNDO[entry.undo](self, **entry.arguments)
                self._away_since = None
                return
            except (Away, Unreachable) as outage:
                now = time.monotonic()
                if self._away_since is None:
                    self._away_since = now
                    self.say(f"trying again for {_OUTAGE_SECONDS:g} s: {entry.what}: {outage}")
                if now - self._away_since >= _OUTAGE_SECONDS:
                    raise
            time.sleep(_OUTAGE_PAUSE)

    def wait_for(self, question: Callable[[], Answer], seconds: float, what: str) -> Answer:
        """The first answer that is true. Raises `TookTooLong` after `seconds`, naming `what`."""
        deadline = time.monotonic() + seconds
        while not (answer := question()):
            if time.monotonic() >= deadline:
                raise TookTooLong(f"waited {seconds:g} s for {what}")
            time.sleep(_POLL)
        return answer

    def require_level(self, level: Level, what: str) -> None:
        """Raise `CannotLook` unless this run may do so much; `what` is what needs it."""
        if LEVELS.index(self.options.level) < LEVELS.index(level):
            raise CannotLook(f"{what} needs --cp-level={level}")

    def require_scope(self, workload: Workload) -> None:
        """Raise `CannotLook` unless this run may disrupt a workload."""
        self.require_level("disrupt", f"{workload.ref}: disrupting it")
        if not self.target.names_scope:
            raise CannotLook(
                f"{self.target.uri} names neither namespaces nor workloads: what is disrupted must"
                f" be named, for example {self.target.scope_example}"
            )
        if not self.target.covers(workload.kind, workload.name):
            raise CannotLook(f"{workload.ref} is not among what {self.target.uri} names")


def _names(ref: ObjectRef) -> list[str]:
    """What a user may call an object, the most exact first: `[NAMESPACE/][KIND/]NAME`."""
    own = [f"{ref.kind}/{ref.name}", f"{ref.kind.lower()}/{ref.name}", ref.name]
    return [f"{ref.namespace}/{name}" for name in own if ref.namespace] + own


def new_run() -> str:
    """A name for a run, fit for a label's value."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def _reason(error: Exception) -> str:
    known = isinstance(error, ContainerPolicyError)
    return str(error) if known else f"{type(error).__name__}: {error}"


def open_lab(
    target: Target, timeouts: Timeouts, options: LabOptions, journal: Journal | None = None
) -> Lab:
    """The laboratory of a live target. Raises `CannotLook` for a file, `Unreachable`."""
    from pytest_containerpolicy.experiments.docker_lab import DockerLab
    from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
    from pytest_containerpolicy.targets.kubernetes import KubernetesTarget

    if not target.is_live:
        raise CannotLook(f"{target.id} is not a live environment: nothing can be measured on it")
    if isinstance(target, KubernetesTarget):
        return KubernetesLab(target, timeouts, options, journal)
    return DockerLab(target, timeouts, options, journal)
