"""The journal: on disk before the act, and read by whoever comes after a killed run."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy import cli, experiments
from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.experiments import load_builtin_experiments
from pytest_containerpolicy.experiments import restore as restoring
from pytest_containerpolicy.experiments.journal import Journal, orphans
from pytest_containerpolicy.experiments.lab import PROBER_IMAGE, UNDO, Lab, LabOptions
from pytest_containerpolicy.experiments.restore import leftovers, restore
from pytest_containerpolicy.targets.uri import Timeouts

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

    assert [] == list(orphans(tmp_path, []))
    with pytest.raises(UsageError, match="another process has this journal open"):
        Journal(tmp_path, "run")
    journal.close()


def test_dead_run_is_found(tmp_path: Path) -> None:
    """A journal with something pending stays, and is found with all that it says."""
    journal = Journal(tmp_path, "run")
    _add(journal, "a")
    journal.close()

    found = list(orphans(tmp_path, []))

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


def test_line_of_another_version(tmp_path: Path) -> None:
    """What is not understood is reported and stays, and what is understood is undone."""
    journal = Journal(tmp_path, "run")
    _add(journal, "a")
    journal.close()
    with (tmp_path / "run.jsonl").open("a") as file:
        file.write('{"number":2,"takes_back":"a"}\n5\n')
    problems: list[str] = []

    [found] = orphans(tmp_path, problems)
    found.done(found.pending[0])
    found.close()

    assert ["line 3", "line 4"] == [
        line for line in ("line 1", "line 3", "line 4") if any(line in said for said in problems)
    ]
    assert all("it is of another version" in said for said in problems)
    assert (tmp_path / "run.jsonl").exists()


def test_journal_that_cannot_be_read(tmp_path: Path) -> None:
    """One journal that can't be opened is reported, and does not hide the others."""
    (tmp_path / "bad.jsonl").mkdir()
    journal = Journal(tmp_path, "good")
    _add(journal, "a")
    journal.close()
    problems: list[str] = []

    assert ["good"] == [found.run for found in orphans(tmp_path, problems)]
    [said] = problems
    assert f"journal {tmp_path}/bad.jsonl: " in said
    assert "Is a directory" in said


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of journals, with one that a dead run left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    journal = Journal(tmp_path / "containerpolicy", "run")
    engine, image = "engine+unix:///none.sock", "registry.example/python"
    journal.add("remove_lock", "a", engine, "uid", {}, prober_image=image)
    journal.add("remove_lock", "of an older version", engine, "uid", {})
    journal.close()
    return tmp_path / "containerpolicy"


@pytest.mark.parametrize(
    ("given", "used"),
    [("", ["registry.example/python", PROBER_IMAGE]), ("own/python", ["own/python"] * 2)],
)
def test_restore_uses_the_prober_image_of_the_run(
    left: Path, monkeypatch: pytest.MonkeyPatch, given: str, used: list[str]
) -> None:
    """What a dead run could pull there is used again, unless another image is given."""
    images: list[str] = []

    def opened(_: Any, __: Timeouts, options: LabOptions, ___: Journal) -> Lab:
        images.append(options.prober_image)
        raise UsageError("nobody there")

    monkeypatch.setattr(restoring, "open_lab", opened)

    assert ["nobody there"] * 2 == restore(Timeouts(), print, prober_image=given)
    assert used == sorted(images, reverse=True)


def test_restore_command_reports_what_it_cannot_read(
    left: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A journal that can't be read is no success, whether it is listed or restored."""
    (left / "bad.jsonl").mkdir()

    assert 1 == cli.main(["restore", "--list"])
    printed = capsys.readouterr()
    assert "2 changes to undo" in printed.out
    assert f"journal {left}/bad.jsonl" in printed.err
    assert 2 == len(leftovers()[0])
