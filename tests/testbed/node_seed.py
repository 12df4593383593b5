"""What a node's containerd already holds when it starts: the test images, imported only once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.testbed.builds import cached, digest, folder_of
from tests.testbed.images import ADDONS, WORKLOADS, archive
from tests.testbed.shell import run, succeeds, wait_until


def node_seed() -> Path:
    """A containerd root folder with every image unpacked, to be copied to each node."""
    tar = archive(*WORKLOADS, *ADDONS)
    key = digest(str(tar).encode(), str(folder_of("containerd")).encode())
    return cached("node-seed", key, lambda folder: _import(tar, folder)) / "root"


def copy_seed(to: Path) -> None:
    """Give a node its own copy; sparse and, where the file system can, without copying data."""
    to.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "-a", "--reflink=auto", node_seed(), to)


def _import(tar: Path, folder: Path) -> None:
    programs = folder_of("containerd")
    socket = folder / "state" / "containerd.sock"
    argv: list[str | Path] = [programs / "containerd", "--config", "/dev/null"]
    argv += ["--root", folder / "root", "--state", folder / "state", "--address", socket]
    # Mounts of its own: the snapshots that unpacking mounts can't outlive a killed import.
    command = ["unshare", "--mount", *(str(word) for word in argv)]
    daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        ctr: list[str | Path] = [programs / "ctr", "--address", socket, "--namespace", "k8s.io"]
        wait_until("containerd answers", lambda: succeeds(*ctr, "version"), 20)
        run(*ctr, "images", "import", "--local", "--snapshotter", "overlayfs", tar)
    finally:
        daemon.terminate()
        daemon.wait(20)
    shutil.rmtree(folder / "state", ignore_errors=True)
