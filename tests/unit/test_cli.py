"""The command line of `containerpolicy`: what it understands, and how it refuses."""

from pathlib import Path

import pytest

from pytest_containerpolicy.cli import _split, main


@pytest.mark.parametrize(
    ("words", "own", "passed_on"),
    [
        ("audit a:b c:d --cp-profile strict", "audit a:b c:d", "--cp-profile strict"),
        ("audit -k memory", "audit", "-k memory"),
        ("audit manifests:- -q", "audit manifests:-", "-q"),
        ("audit --help", "audit --help", ""),
        ("explain -x", "explain -x", ""),
    ],
)
def test_split(words: str, own: str, passed_on: str) -> None:
    """An option's value is never taken for a target."""
    assert (own.split(), passed_on.split()) == _split(words.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("explain upgrade/x", "no policy 'upgrade/x'; did you mean 'upgrades/"),
        ("snapshot nomad://x -o x.json", "unknown scheme 'nomad'"),
        ("snapshot snapshot:none.json -o x.json", "none.json: No such file or directory"),
        ("docs nowhere", "pack 'nowhere': no such folder"),
    ],
)
def test_mistakes(
    words: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    """A mistake gives exit code 4 and one line that says what is wrong."""
    monkeypatch.chdir(tmp_path)

    assert 4 == main(words.split())
    error = capsys.readouterr().err
    assert error.startswith("containerpolicy: ")
    assert message in error
    assert 1 == error.count("\n")


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command lists the commands there are."""
    with pytest.raises(SystemExit) as caught:
        main(["judge"])

    assert 4 == caught.value.code
    assert "'audit', 'explain', 'snapshot'" in capsys.readouterr().err


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    """A policy is explained: why, fix, patch and profiles."""
    assert 0 == main(["explain", "resources/memory-limit"])
    text = capsys.readouterr().out

    for words in (
        "Every container has a memory limit",
        "why",
        "Set resources.limits.memory",
        "256Mi",
    ):
        assert words in text


def test_nothing_to_audit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An audit of a place with nothing to judge is a mistake, not a pass."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.delenv("KUBECONFIG", raising=False)

    assert 4 == main(["audit"])
    assert "nothing to judge here" in capsys.readouterr().err
