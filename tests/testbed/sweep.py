"""Stop an environment: the same few steps whether it runs well, half started or was killed."""

from __future__ import annotations

import shutil

from tests.testbed.layout import Site
from tests.testbed.network import sweep_cgroups, sweep_mounts, sweep_network
from tests.testbed.processes import cgroups, sweep_processes
from tests.testbed.shell import wait_until

KEEP = ("log", "pki")


def sweep(site: Site) -> None:
    """Leave nothing of the environment but its logs and certificates.

    Killing beats asking: a daemon that is asked may hang, and nothing it would save is kept.
    """
    sweep_processes(site)
    sweep_mounts(site)
    sweep_network(site)
    sweep_cgroups(cgroups(site))
    wait_until(f"{site.folder} is empty", lambda: _cleared(site), 20)


def _cleared(site: Site) -> bool:
    if not site.folder.is_dir():
        return True
    left = [path for path in site.folder.iterdir() if path.name not in KEEP]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return not any(path.exists() for path in left)
