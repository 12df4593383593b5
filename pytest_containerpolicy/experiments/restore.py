"""What dead runs left behind, undone by whoever comes next."""

from collections.abc import Callable, Container
from contextlib import closing

from pytest_containerpolicy.errors import ContainerPolicyError, NotRestored
from pytest_containerpolicy.experiments import load_builtin_experiments
from pytest_containerpolicy.experiments.journal import Entry, Journal, orphans, state_folder
from pytest_containerpolicy.experiments.lab import PROBER_IMAGE, LabOptions, open_lab
from pytest_containerpolicy.targets.uri import Timeouts, parse_target


def leftovers() -> tuple[list[Entry], list[str]]:
    """What dead runs changed and did not undo, and which of their journals can't be read.

    Nothing is touched.
    """
    entries: list[Entry] = []
    unreadable: list[str] = []
    for journal in orphans(state_folder(), unreadable):
        with closing(journal):
            entries += journal.pending
    return entries, unreadable


def restore(
    timeouts: Timeouts,
    say: Callable[[str], None],
    targets: Container[str] | None = None,
    prober_image: str = "",
) -> list[str]:
    """Undo what dead runs left, the newest first; returns what could not be undone, and why.

    `targets` are the durable URIs of the environments that may be touched; None is any, and what
    can't be read of journals is a problem then. `prober_image` is used in place of the dead run's.
    """
    load_builtin_experiments()
    problems: list[str] = []
    unreadable: list[str] = []
    for journal in orphans(state_folder(), unreadable):
        with closing(journal):
            for entry in journal.pending:
                if targets is not None and entry.target not in targets:
                    continue
                try:
                    _restore_one(entry, journal, timeouts, prober_image)
                    say(f"restored: {entry.what} (changed {entry.at} by run {journal.run})")
                except ContainerPolicyError as error:
                    problems.append(str(error))
    return problems if targets is not None else problems + unreadable


def reminders(own: Container[str] = ()) -> list[str]:
    """What dead runs left beside the environments with these durable URIs, a line each."""
    entries, unreadable = leftovers()
    return unreadable + [
        f"a dead run left on {entry.target}: {entry.what}: run `containerpolicy restore`"
        for entry in entries
        if entry.target not in own
    ]


def _restore_one(entry: Entry, journal: Journal, timeouts: Timeouts, prober_image: str) -> None:
    target = parse_target(entry.target)
    image = prober_image or entry.prober_image or PROBER_IMAGE
    # The dead run's journal goes on being its own: what is undone now is marked in it.
    lab = open_lab(target, timeouts, LabOptions(level="disrupt", prober_image=image), journal)
    if lab.identity != entry.identity:
        raise NotRestored(
            f"not restored: {entry.what}: {entry.target} leads to another environment now"
            f" ({lab.identity}, then {entry.identity})"
        )
    lab.take_back(entry, journal)
