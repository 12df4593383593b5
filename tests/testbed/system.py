"""Debian packages that the environments need; installed or unpacked only when missing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.testbed.shell import TestbedError, run

PACKAGES: Mapping[str, str] = {
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/conntrack": "conntrack",
    "/bin/ip": "iproute2",
    "/bin/busybox": "busybox-static",
    "/bin/mount": "mount",
    "/usr/bin/nsenter": "util-linux",
    "/usr/bin/gcc": "gcc",
    "/usr/include/seccomp.h": "libseccomp-dev",
    "/usr/include/string.h": "libc6-dev",
}


@cache
def system_packages() -> None:
    """Install what is missing; none of these packages starts a daemon."""
    missing = sorted({package for path, package in PACKAGES.items() if not Path(path).exists()})
    if missing:
        _apt_get("install", "-y", "--no-install-recommends", *missing)


def unpack_packages(names: list[str], into: Path) -> None:
    """Unpack Debian packages into a folder without installing them, so that nothing starts."""
    downloads = into / "downloads"
    downloads.mkdir(parents=True)
    _apt_get("download", *names, cwd=downloads)
    for package in sorted(downloads.glob("*.deb")):
        run("dpkg", "-x", package, into)
    shutil.rmtree(downloads)


def _apt_get(*words: str, cwd: Path | None = None) -> None:
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run("apt-get", "--quiet", *words, env=env, cwd=cwd, timeout=900)
    except TestbedError:
        run("apt-get", "--quiet", "update", env=env, timeout=300)
        run("apt-get", "--quiet", *words, env=env, cwd=cwd, timeout=900)
