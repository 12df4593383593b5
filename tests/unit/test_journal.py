"""The journal: on disk before the act, and read by whoever comes after a killed run."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from pytest_containerpolicy import experiments
from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.experiments import load_builtin_experiments
from pytest_containerpolicy.experiments.journal import Journal, orphans
from pytest_containerpolicy.experiments.lab import UNDO

TARGET = "k8s://dev?kubeconfig=/k"


def _add(journal: Journal, what: str) -> int:
    return journal.add("uncordon", what, TARGET, "uid", {"node": what}).number


def test_change_is_on_disk_before_the_act(tmp_path: Path) -> None:
    """What was added can be read before anything else is written."""
    journal = Journal(tmp_path, "run")
    _add(journal, "a")

    text = (tmp_path / "run.jsonl").read_text()

    assert '"undo":"uncordon"' in text
    assert "0o600" == oct(stat.S_IMODE((tmp_path / "run.jsonl").stat().st_mode))


def test_finished_run_leaves_nothing(tmp_path: Path) -> None:
    """When all is undone the files are gone."""
    journal = Journal(tmp_path, "run")
    journal.done(journal.add("uncordon", "a", TARGET, "uid", {}))
    journal.close()

    assert [] == list(tmp_path.iterdir())


def test_newest_change_is_undone_first(tmp_path: Path) -> None:
    """What is pending comes in reverse, without what was undone."""
    journal = Journal(tmp_path, "run")
    entries = [journal.add("uncordon", name, TARGET, "uid", {}) for name in "abc"]
    journal.done(entries[1])

    assert ["c", "a"] == [entry.what for entry in journal.pending]


def test_living_run_is_left_alone(tmp_path: Path) -> None:
    """A journal that somebody holds is no orphan, and can't be opened twice."""
    journal = Journal(tmp_path, "run")
    _add(journal, "a")

    assert [] == list(orphans(tmp_path))
    with pytest.raises(UsageError, match="another process has this journal open"):
        Journal(tmp_path, "run")
    journal.close()


def test_dead_run_is_found(tmp_path: Path) -> None:
    """A journal with something pending stays, and is found with all that it says."""
    journal = Journal(tmp_path, "run")
    _add(journal, "a")
    journal.close()

    found = list(orphans(tmp_path))

    assert [("run", [("a", {"node": "a"}, TARGET, "uid")])] == [
        (each.run, [(e.what, e.arguments, e.target, e.identity) for e in each.pending])
        for each in found
    ]


def test_half_a_line(tmp_path: Path) -> None:
    """A run that died while it wrote had not acted; the next one writes on."""
    journal = Journal(tmp_path, "run")
    _add(journal, "a")
    journal.close()
    with (tmp_path / "run.jsonl").open("a") as file:
        file.write('{"number":2,"undo":"unc')

    journal = Journal(tmp_path, "run")
    _add(journal, "b")
    journal.close()

    assert ["b", "a"] == [e.what for e in Journal(tmp_path, "run").pending]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Without a place for a journal there is no experiment, and the error says what to do."""
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="set XDG_STATE_HOME"):
        Journal(tmp_path / "file", "run")


def test_every_undo_is_known_to_a_later_run() -> None:
    """Whatever an experiment may write into a journal, `restore` has a function for."""
    load_builtin_experiments()
    folder = Path(experiments.__file__).parent
    texts = [file.read_text() for file in folder.rglob("*.py")]
    pattern = re.compile(r"^@undo\ndef (\w+)", re.MULTILINE)
    declared = {name for text in texts for name in pattern.findall(text)}

    assert set() == declared - set(UNDO)
