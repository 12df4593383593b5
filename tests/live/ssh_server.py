"""An ssh server on loopback whose `docker` talks to an engine of the testbed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import Engine
from tests.testbed.builds import cached, digest
from tests.testbed.engine import _debian_engine
from tests.testbed.shell import run, wait_until
from tests.testbed.system import unpack_packages

_PACKAGES = ["openssh-server", "libwrap0", "libnsl2"]


@dataclass(frozen=True)
class SshServer:
    """A running server; `home` holds the key and the known hosts of a client that may log in."""

    port: int
    home: Path


@contextlib.contextmanager
def ssh_server(engine: Engine, folder: Path) -> Iterator[SshServer]:
    """Serve until the context ends; nothing of the machine's own ssh set-up is used."""
    root = cached("ssh-server", digest(*(name.encode() for name in _PACKAGES)), _unpack)
    port = _free_port()
    home = _make_home(folder)
    config = _write_config(folder, port, engine)
    server = subprocess.Popen(_command(root, folder, config), env=_environment(root))
    try:
        wait_until("sshd answers", lambda: _answers(port), 10)
        keys = run("ssh-keyscan", "-p", str(port), "127.0.0.1")
        (home / ".ssh" / "known_hosts").write_text(keys)
        yield SshServer(port, home)
    finally:
        server.terminate()
        server.wait(10)


def _unpack(folder: Path) -> None:
    unpack_packages(_PACKAGES, folder)


def _make_home(folder: Path) -> Path:
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for key in (folder / "host", home / ".ssh" / "id_ed25519"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    return home


def _write_config(folder: Path, port: int, engine: Engine) -> Path:
    # sshd drops its rights to a user of its own, whom the machine need not have.
    users = Path("/etc/passwd").read_text()
    (folder / "passwd").write_text(f"{users}sshd:x:998:65534::/run/sshd:/usr/sbin/nologin\n")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "docker").symlink_to(_debian_engine() / "usr" / "bin" / "docker")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "home" / ".ssh" / "id_ed25519.pub",
        "StrictModes": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "SetEnv": f"DOCKER_HOST={engine.url} PATH={programs}:/usr/bin:/bin",
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    return config


def _command(root: Path, folder: Path, config: Path) -> list[str]:
    script = 'mount --bind "$0/passwd" /etc/passwd && mkdir -p /run/sshd && exec "$@"'
    sshd = [str(root / "usr" / "sbin" / "sshd"), "-D", "-e", "-q", "-f", str(config)]
    return ["unshare", "--mount", "sh", "-c", script, str(folder), *sshd]


def _environment(root: Path) -> Mapping[str, str]:
    libraries = [root / "lib" / "x86_64-linux-gnu", root / "usr" / "lib" / "x86_64-linux-gnu"]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as near:
        return near.recv(4) == b"SSH-"
    return False


def forget_hosts(server: SshServer) -> Path:
    """A home whose client has the key, but has never seen the server."""
    home = server.home.with_name("elsewhere")
    shutil.copytree(server.home, home)
    (home / ".ssh" / "known_hosts").unlink()
    return home
