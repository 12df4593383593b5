"""Which places are meant to be kept, markers written by real programs, and what figures say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.markers import SIZE, Hand, NoProgram, new_marker
from pytest_containerpolicy.experiments.survival import keeps_data
from pytest_containerpolicy.experiments.survival_markers import look, plant
from pytest_containerpolicy.experiments.survival_places import Place, place_at, places_of
from pytest_containerpolicy.experiments.survival_result import Reading, Recreation, Survival
from pytest_containerpolicy.model.volume import Volume
from pytest_containerpolicy.targets.kubernetes_exec import Output
from tests.kubernetes_models import model_of_text, workload_named

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  selector: {{matchLabels: {{app: shop}}}}
  template:
    metadata: {{labels: {{app: shop}}}}
    spec:
      containers:
        - {{name: app, image: "{image}", volumeMounts: [{mounts}]}}
        - {{name: beside, image: example/beside, volumeMounts: [{mounts}]}}
      volumes:
        - {{name: claim, persistentVolumeClaim: {{claimName: orders}}}}
        - {{name: scratch, emptyDir: {{}}}}
        - {{name: settings, configMap: {{name: settings}}}}
        - {{name: disk, hostPath: {{path: /srv/orders}}}}
        - {{name: logs, hostPath: {{path: /var/log}}}}
        - {{name: socket, hostPath: {{path: /run/docker.sock}}}}
        - {{name: kubelet, hostPath: {{path: /var/lib/kubelet/pods}}}}
"""
SCRATCH = Place(
    container="app", path="/scratch", volume=Volume(name="x", kind="emptyDir", lifetime="pod")
)
DATA = Place(
    container="app",
    path="/data",
    volume=Volume(name="data", kind="emptyDir", lifetime="pod"),
    expected=True,
    is_data=True,
)


def _mount(name: str, path: str, more: str = "") -> str:
    return f"{{name: {name}, mountPath: {path}{more}}}"


def _places(image: str, *mounts: str) -> list[tuple[str, str, bool]]:
    text = DEPLOYMENT.format(image=image, mounts=", ".join(mounts))
    workload = workload_named(model_of_text(text), "shop")
    return [(place.path, place.on, place.expected) for place in places_of(workload)]


def test_what_is_meant_to_be_kept() -> None:
    """Claims and hosts' directories are, scratch is not; configuration is no place at all."""
    mounts = [_mount("claim", "/a"), _mount("scratch", "/b"), _mount("settings", "/c")]
    expected = [
        ("/a", "persistentVolumeClaim orders", True),
        ("/b", "emptyDir scratch", False),
        ("/d", "hostPath disk", True),
    ]
    assert expected == _places("example/shop", *mounts, _mount("disk", "/d"))


@pytest.mark.parametrize("volume", ["logs", "socket", "kubelet"])
def test_the_host_s_own_files_are_no_place_for_data(volume: str) -> None:
    """No marker is written among logs, sockets and what the kubelet keeps."""
    assert [] == _places("example/agent", _mount(volume, "/host"))


def test_read_only_is_no_place() -> None:
    """What a container can't write is not judged."""
    assert [] == _places("example/shop", _mount("claim", "/a", ", readOnly: true"))


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ([], ("/var/lib/mysql", "the container's own file system", True)),
        ([_mount("scratch", "/var/lib/mysql")], ("/var/lib/mysql", "emptyDir scratch", True)),
        (
            [_mount("claim", "/var/lib/mysql/")],
            ("/var/lib/mysql", "persistentVolumeClaim orders", True),
        ),
    ],
    ids=["in the container", "emptyDir", "claim"],
)
def test_data_of_a_database_is_meant_to_be_kept(
    mounts: list[str], expected: tuple[str, str, bool]
) -> None:
    """Wherever the data directory of a well-known image is."""
    assert [expected] == [place for place in _places("mysql:8", *mounts) if "mysql" in place[0]]


def test_folder_behind_a_place() -> None:
    """A place below a mount with a subPath is known by the host's directory."""
    mounts = _mount("disk", "/data", ", subPath: shop")
    text = DEPLOYMENT.format(image="example/shop", mounts=mounts)
    place = place_at(workload_named(model_of_text(text), "shop"), "/data/deep/er")
    assert ("shop/deep/er", "/srv/orders/shop/deep/er") == (place.folder, place.host_path)


@pytest.mark.parametrize(
    ("mount", "expected"), [(_mount("claim", "/a"), True), (_mount("scratch", "/a"), False)]
)
def test_what_keeps_nothing_is_not_disrupted(mount: str, expected: bool) -> None:
    """Only what writes to a place that is meant to last is measured."""
    text = DEPLOYMENT.format(image="example/shop", mounts=mount)
    assert expected == keeps_data(workload_named(model_of_text(text), "shop"))


def _here(argv: Sequence[str]) -> Output:
    done = subprocess.run(argv, capture_output=True, text=True)
    return Output(done.returncode, done.stdout, done.stderr)


def _rooted(root: Path) -> Callable[[Sequence[str]], Output]:
    """Runs programs for which a folder is the other container's root."""
    return lambda argv: _here([word.replace("/proc/1/root", str(root)) for word in argv])


@pytest.fixture(params=["sh", "python"])
def hand(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Hand, str]:
    """A hand of either language, and what it calls the folder `tmp_path / "data"`."""
    (tmp_path / "data").mkdir()
    if request.param == "sh":
        return Hand(_here), str(tmp_path / "data")
    (tmp_path / "link").symlink_to("/data")
    return Hand(_rooted(tmp_path), "python"), "/link"


def test_marker_is_written_read_and_removed(hand: tuple[Hand, str], tmp_path: Path) -> None:
    """Its content is what its checksum says, and nothing is left of it."""
    (reach, folder), marker = hand, new_marker("run")
    assert "lost" == reach.read(folder, marker)
    assert reach.write(folder, marker)
    assert SIZE == (tmp_path / "data" / marker.name).stat().st_size
    assert "kept" == reach.read(folder, marker)
    reach.remove(folder, marker.name)
    reach.remove(folder, marker.name)
    assert [] == list((tmp_path / "data").iterdir())


def test_damaged_marker(hand: tuple[Hand, str], tmp_path: Path) -> None:
    """One changed byte shows."""
    (reach, folder), marker = hand, new_marker("run")
    reach.write(folder, marker)
    file = tmp_path / "data" / marker.name
    file.write_text("x" + file.read_text()[1:])
    assert "changed" == reach.read(folder, marker)


def test_marker_never_overwrites(hand: tuple[Hand, str], tmp_path: Path) -> None:
    """A file by the same name is left alone."""
    (reach, folder), marker = hand, new_marker("run")
    (tmp_path / "data" / marker.name).write_text("mine")
    with pytest.raises(CannotLook, match=f"can't write {folder}/{marker.name}"):
        reach.write(folder, marker)
    assert "mine" == (tmp_path / "data" / marker.name).read_text()


def test_marker_in_no_directory(hand: tuple[Hand, str]) -> None:
    """A file, and what is not there, is no place for one."""
    reach, folder = hand
    assert not reach.write(f"{folder}/none", new_marker("run"))


def test_no_shell() -> None:
    """The word for it is not the one for a marker that is gone."""
    missing = Hand(lambda _: Output(127, "", "sh: not found"))
    with pytest.raises(NoProgram, match="there is no sh: sh: not found"):
        missing.read("/data", new_marker("run"))


def test_data_directory_that_is_not_there() -> None:
    """A database without its data directory is not judged by its scratch volumes."""
    missing = Hand(lambda argv: Output(3 if "/data" in argv else 0, "", ""))
    with pytest.raises(CannotLook, match="container app has no directory /data"):
        plant(lambda _: missing, (SCRATCH, DATA), new_marker("run"))


def test_file_beside_a_directory() -> None:
    """A claim that is mounted as a file holds no marker: it is neither kept nor lost."""
    on_claim = Volume(name="c", kind="persistentVolumeClaim", lifetime="claim")
    file = Place(container="app", path="/etc/app.db", volume=on_claim, expected=True)
    reach, marker = (
        Hand(lambda argv: Output(3 if file.path in argv else 0, "", "")),
        new_marker("r"),
    )

    planted = plant(lambda _: reach, (file, DATA), marker)
    seen = next(look(lambda _: reach, planted[1:], marker, running=True))

    assert [DATA.path, file.path] == [place.path for place in planted]
    assert (False, False) == (seen.is_bad, seen.place.is_probed)
    expected = "not seen /etc/app.db on persistentVolumeClaim c (a file or a socket: no marker can"
    assert f"{expected} be put into it)" == str(seen)


def test_scratch_that_can_t_be_written() -> None:
    """What nobody expects to be kept does not stop a measurement."""
    refused = Hand(lambda argv: Output(0 if "/data" in argv else 1, "", "denied"))
    assert (DATA,) == plant(lambda _: refused, (SCRATCH, DATA), new_marker("run"))


def test_unreadable_is_not_lost() -> None:
    """What can't be read in a container that is well is no verdict; in one that is not, unseen."""
    refused, marker = Hand(lambda _: Output(1, "", "denied")), new_marker("run")
    with pytest.raises(CannotLook, match="denied"):
        list(look(lambda _: refused, (DATA,), marker, running=True))
    assert ["not seen"] == [
        reading.fate for reading in look(lambda _: refused, (DATA,), marker, running=False)
    ]


def test_figures() -> None:
    """A survival says what was done, how long it took and what became of each place."""
    lost, scratch = Reading(place=DATA, fate="lost"), Reading(place=SCRATCH, fate="lost")
    done = Recreation(
        unit="pod shop-0",
        how="was deleted",
        ready_after=3.42,
        started_after=1,
        node_before="a",
        node_after="b",
        readings=(lost, scratch),
    )
    survival = Survival(subject="StatefulSet shop", recreations=(done,))
    assert (False, (lost,)) == (bool(survival), survival.lost)
    expected = (
        "data of StatefulSet shop\n"
        "pod shop-0 was deleted: ready again after 3.4 s, started 1 s after it had a node,"
        " moved from a to b\n"
        "  lost  /data on emptyDir data\n"
        "  lost  /scratch on emptyDir x (scratch, nobody expects it)"
    )
    assert expected == str(survival)


def test_what_proves_nothing() -> None:
    """Data that could not have been lost is no proof; data that was lost needs none."""
    lost = Reading(place=DATA, fate="lost")
    same = Recreation(unit="u", how="h", ready_after=1, doubt="/data: came to node a again")
    with pytest.raises(CannotLook, match="data of s: /data: came to node a again"):
        Survival(subject="s", recreations=(same,)).require_proof()
    Survival(subject="s", recreations=(same, replace(same, readings=(lost,)))).require_proof()


@pytest.mark.parametrize(
    "done",
    [
        Recreation(unit="u", how="h", ready_after=None, trouble="stuck"),
        Recreation(unit="u", how="h", ready_after=1, identity=("claim of data: a became b",)),
        Recreation(
            unit="u", how="h", ready_after=1, readings=(Reading(place=DATA, fate="changed"),)
        ),
    ],
    ids=["not back", "another claim", "changed"],
)
def test_what_is_no_survival(done: Recreation) -> None:
    """Not to come back, to come back as another, or with other content."""
    assert not Survival(subject="s", recreations=(done,))
