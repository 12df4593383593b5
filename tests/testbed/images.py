"""The test images, written as archives without any engine, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.testbed.builds import HERE, binary, cached, digest
from tests.testbed.python_layer import ENVIRONMENT, write_python_layer
from tests.testbed.shell import run
from tests.testbed.system import system_packages

BUSYBOX = Path("/bin/busybox")
PROGRAMS = {"server": "/server", "coredns": "/coredns", "metrics-server": "/metrics-server"}
WORKLOADS = ("server", "distroless", "busybox", "pause", "stateful", "python")
ADDONS = ("coredns", "metrics-server")
_PATH = "PATH=/usr/bin:/bin:/usr/sbin:/sbin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """One image: its name, its layers' names and the configuration its containers start with."""

    name: str
    layers: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)


_HEALTHCHECK = {
    "Test": ["CMD", "/server", "healthcheck"],
    "Interval": 2_000_000_000,
    "Timeout": 2_000_000_000,
    "Retries": 3,
}
_SERVES = {"Entrypoint": ["/server"], "ExposedPorts": {"8080/tcp": {}}}
IMAGES = (
    Image("server", ("busybox", "server"), _SERVES),
    Image("distroless", ("server",), _SERVES),
    Image("busybox", ("busybox",), {"Cmd": ["/bin/sh"]}),
    Image("pause", ("pause",), {"Entrypoint": ["/pause"]}),
    Image("python", ("busybox", "python"), {"Cmd": ["python3"], "Env": [_PATH, *ENVIRONMENT]}),
    Image("node", ("node",), {"Entrypoint": ["/bin/bash", "/node/start.sh"]}),
    Image("coredns", ("coredns",), {"Entrypoint": ["/coredns"]}),
    Image("metrics-server", ("metrics-server",), {"Entrypoint": ["/metrics-server"]}),
    Image(
        "stateful",
        ("busybox", "server"),
        {**_SERVES, "Volumes": {"/data": {}}, "Healthcheck": _HEALTHCHECK},
    ),
)


def archive(*names: str) -> Path:
    """A tar with these images, for `docker load` and `ctr images import` alike."""
    chosen = [image for image in IMAGES if image.name in names]
    used = sorted({layer for image in chosen for layer in image.layers})
    layers = {name: _layer(name) for name in used}
    key = digest(repr(chosen).encode(), *(path.name.encode() for path in layers.values()))
    made = cached("images", key, lambda folder: _write(folder, chosen, layers))
    return made / "images.tar"


def _write(folder: Path, chosen: list[Image], layers: Mapping[str, Path]) -> None:
    with tarfile.open(folder / "images.tar", "w") as tar:
        for path in layers.values():
            tar.add(path / "layer.tar", f"{path.name}.tar", filter=_plain)
        manifest = [_add_config(tar, image, layers) for image in chosen]
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _add_config(tar: tarfile.TarFile, image: Image, layers: Mapping[str, Path]) -> dict[str, Any]:
    stack = [layers[name] for name in image.layers]
    ids = [f"sha256:{_sha256(path / 'layer.tar')}" for path in stack]
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Env": [_PATH], **image.config},
        "rootfs": {"type": "layers", "diff_ids": ids},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "testbed"} for _ in stack],
    }
    text = json.dumps(config, sort_keys=True).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    _add(tar, name, text)
    tag = f"testbed/{image.name}:1"
    return {"Config": name, "RepoTags": [tag], "Layers": [f"{p.name}.tar" for p in stack]}


def _layer(name: str) -> Path:
    """One layer of files, made again only when the program inside it changed."""
    if name == "python":
        source = HERE / "python_layer.py"
        return cached("layer-python", digest(source.read_bytes()), write_python_layer)
    program = _program(name)
    key = digest(name.encode(), program.read_bytes() if program else b"")
    return cached(f"layer-{name}", key, lambda folder: _write_layer(folder, name, program))


def _program(name: str) -> Path | None:
    if name == "busybox":
        system_packages()
        return BUSYBOX
    if name == "pause":
        return _pause() / "pause"
    return binary(name) if name in PROGRAMS else None


def _pause() -> Path:
    system_packages()
    source = HERE / "pause" / "pause.c"

    def compile_into(folder: Path) -> None:
        run("gcc", "-Os", "-static", "-s", "-o", folder / "pause", source)

    return cached("pause", digest(source.read_bytes()), compile_into)


def _write_layer(folder: Path, name: str, program: Path | None) -> None:
    with tarfile.open(folder / "layer.tar", "w") as tar:
        if name == "busybox":
            _add_busybox(tar)
        elif name == "node":
            _add_node(tar)
        elif program:
            _add(tar, program.name, program.read_bytes(), 0o755)
            _add_accounts(tar)


def _add_busybox(tar: tarfile.TarFile) -> None:
    _add_accounts(tar)
    _add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
    for applet in run(BUSYBOX, "--list").split():
        if applet != "busybox":
            _add_link(tar, f"bin/{applet}", "busybox")


def _add_accounts(tar: tarfile.TarFile) -> None:
    _add(tar, "etc/passwd", b"root:x:0:0::/root:/bin/sh\nnonroot:x:65532:65532::/:/bin/sh\n")
    _add(tar, "etc/group", b"root:x:0:\nnonroot:x:65532:\n")
    _add_folder(tar, "tmp", 0o1777)


def _add_node(tar: tarfile.TarFile) -> None:
    for path in ("usr", "bin", "sbin", "lib", "lib64", "opt", "etc/alternatives", "var/lib", "tmp"):
        _add_folder(tar, path, 0o755)
    _add(tar, "etc/passwd", b"root:x:0:0::/root:/bin/bash\n")
    _add(tar, "etc/group", b"root:x:0:\n")
    _add(tar, "etc/protocols", b"tcp 6 TCP\nudp 17 UDP\n")
    _add(tar, "etc/os-release", b'NAME="testbed"\nPRETTY_NAME="testbed node"\n')


def _add_folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
