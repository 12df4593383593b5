"""Manifests written to a folder and read back as a target."""

from __future__ import annotations

from pathlib import Path

from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"


def read_manifests(path: object) -> Inventory:
    """What the target `manifests:PATH` reads."""
    return parse_target(f"manifests:{path}").read(Timeouts())


def write_manifests(folder: Path, **files: str) -> Path:
    """Write NAME.yaml for each argument; the folder."""
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder
