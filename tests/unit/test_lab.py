"""What a laboratory does when a block ends: it undoes, waits for outages, and lets Ctrl-C pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import CannotLook, NotRestored, Unreachable
from pytest_containerpolicy.experiments import docker_lab, lab
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.docker_locks import lock_name
from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.experiments.kubernetes_lab import NotNow, Refused, refusals
from pytest_containerpolicy.experiments.lab import Away, Lab, LabOptions, open_lab, undo
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_failures import RequestFailed
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

FAILURES: list[Exception] = []


@undo
def fail_for_a_test(_: Lab) -> None:
    """Raise what is listed, one a call, and then succeed."""
    if FAILURES:
        raise FAILURES.pop(0)


class Bench(Lab):
    """A laboratory with nothing behind it, and what it said."""

    identity = "bench"

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        options = LabOptions(progress=self.said.append, prober_image="own/python")
        target = parse_target("engine+unix:///none.sock")
        super().__init__(target, Timeouts(), options, Journal(folder, "run"))

    def claim(self, workload: Workload) -> AbstractContextManager[None]:
        raise NotImplementedError

    def act(self, ending: BaseException | None = None) -> None:
        """Change something, and end so."""
        with self.undoing(fail_for_a_test, "a is changed"):
            if ending:
                raise ending


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A laboratory that does not wait long."""
    monkeypatch.setattr(lab, "_OUTAGE_PAUSE", 0.0)
    FAILURES.clear()
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_interrupted_and_not_restored(bench: Bench) -> None:
    """Ctrl-C ends the run even if the undo fails: that is said, and stays in the journal."""
    FAILURES.append(CannotLook("it does not recover"))

    with pytest.raises(KeyboardInterrupt):
        bench.act(KeyboardInterrupt())

    assert ["a is changed"] == [entry.what for entry in bench.journal.pending]
    [said] = bench.said
    assert said.startswith("not restored: a is changed: it does not recover; run `containerpolicy")


def test_failed_and_not_restored(bench: Bench) -> None:
    """What is left outweighs the error of the block."""
    FAILURES.append(CannotLook("it does not recover"))

    with pytest.raises(NotRestored, match="it does not recover"):
        bench.act(CannotLook("no traffic"))


def test_undo_with_an_error_of_any_kind(bench: Bench) -> None:
    """Whatever an undo stumbles over keeps the entry, and is named with its kind."""
    FAILURES.append(ValueError("odd"))

    with pytest.raises(NotRestored, match="a is changed: ValueError: odd"):
        bench.act()

    assert 1 == len(bench.journal.pending)


def test_outage_is_waited_for(bench: Bench) -> None:
    """An environment that is away for a moment is asked again, and that is said once."""
    FAILURES.extend([Away("no answer"), Unreachable("no socket"), Away("no answer")])

    bench.act()

    assert [] == bench.journal.pending
    assert ["trying again for 60 s: a is changed: no answer"] == bench.said


def test_outage_that_does_not_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is waited for once: what else is to be undone fails without more waiting."""
    monkeypatch.setattr(lab, "_OUTAGE_SECONDS", 0.05)
    FAILURES.extend([Away("no answer")] * 1_000_000)
    with pytest.raises(NotRestored, match="no answer"):
        bench.act()
    left = len(FAILURES)

    with pytest.raises(NotRestored, match="no answer"):
        bench.act()

    assert left - 1 == len(FAILURES)


def test_journal_knows_the_prober_image(bench: Bench) -> None:
    """What restores later can use the image that could be had."""
    with bench.undoing(fail_for_a_test, "a is changed") as entry:
        assert "own/python" == entry.prober_image


@pytest.mark.parametrize(
    ("status", "kind"), [(0, NotNow), (429, NotNow), (503, NotNow), (403, Refused), (409, Refused)]
)
def test_refusals_that_may_pass(status: int, kind: type[Refused]) -> None:
    """No answer, too many requests and a broken server may pass; a no is a no."""
    with pytest.raises(Refused) as raised, refusals("GET /api"):
        raise RequestFailed("reason", status)

    assert kind is type(raised.value)


def test_daemon_errors() -> None:
    """A connection that drops may come back; a missing image is a gap, and no traceback."""
    from docker.errors import ImageNotFound

    with pytest.raises(Away, match="pull: cut"), docker_lab.daemon_errors("pull"):
        raise ConnectionResetError("cut")
    with pytest.raises(CannotLook, match="pull: gone") as raised, docker_lab.daemon_errors("pull"):
        raise ImageNotFound("gone")
    assert CannotLook is type(raised.value)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("compose://shop?host=unix:///none", "containerpolicy-lock-shop-web"),
        ("engine+unix:///none.sock", "containerpolicy-lock-web"),
        ("swarm+unix:///none.sock", "containerpolicy-lock-web"),
    ],
)
def test_lock_names(uri: str, name: str) -> None:
    """Services of several projects may have one name, and do not share a lock."""
    assert name == lock_name(_docker(uri), "web")


def test_lock_name_of_a_long_service() -> None:
    """A Swarm's config has at most 64 characters, a service's name may have as many."""
    names = {lock_name(_docker("swarm+unix:///none.sock"), "a" * 60 + end) for end in "bc"}

    assert 2 == len(names)
    assert all(len(name) <= 64 for name in names)


def _docker(uri: str) -> DockerLab:
    docker = open_lab(parse_target(uri), Timeouts(), LabOptions())
    assert isinstance(docker, DockerLab)
    return docker
