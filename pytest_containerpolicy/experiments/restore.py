"""What dead runs left behind, undone by whoever comes next."""

from collections.abc import Callable, Container, Iterator
from contextlib import closing

from pytest_containerpolicy.errors import ContainerPolicyError, NotRestored
from pytest_containerpolicy.experiments import load_builtin_experiments
from pytest_containerpolicy.experiments.journal import Entry, Journal, orphans, state_folder
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.targets.uri import Timeouts, parse_target


def leftovers() -> Iterator[Entry]:
    """What dead runs changed and did not undo; nothing is touched."""
    for journal in orphans(state_folder()):
        yield from journal.pending
        journal.close()


def restore(
    timeouts: Timeouts, say: Callable[[str], None], targets: Container[str] | None = None
) -> list[str]:
    """Undo what dead runs left, the newest first; returns what could not be undone, and why.

    `targets` are the durable URIs of the environments that may be touched; None is any.
    """
    load_builtin_experiments()
    problems: list[str] = []
    for journal in orphans(state_folder()):
        with closing(journal):
            for entry in journal.pending:
                if targets is not None and entry.target not in targets:
                    continue
                try:
                    _restore_one(entry, journal, timeouts)
                    say(f"restored: {entry.what} (changed {entry.at} by run {journal.run})")
                except ContainerPolicyError as error:
                    problems.append(str(error))
    return problems


def _restore_one(entry: Entry, journal: Journal, timeouts: Timeouts) -> None:
    target = parse_target(entry.target)
    # The dead run's journal goes on being its own: what is undone now is marked in it.
    lab = open_lab(target, timeouts, LabOptions(level="disrupt"), journal)
    if lab.identity != entry.identity:
        raise NotRestored(
            f"not restored: {entry.what}: {entry.target} leads to another environment now"
            f" ({lab.identity}, then {entry.identity})"
        )
    lab.take_back(entry, journal)
