"""Manifests written to a folder and read back as a target."""

from __future__ import annotations

from pathlib import Path

from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"


def read_manifests(path: object) -> Inventory:
    return parse_target(f"manifests:{path}").read(Timeouts())


def write_manifests(tmp_path: Path, **files: str) -> Path:
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    return tmp_path
