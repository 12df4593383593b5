"""The real Docker Compose as the reference for our reader, and how the two are compared."""

import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import compose  # type: ignore[import-untyped]
import msgspec

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Network
from pytest_containerpolicy.model.volume import NamedVolume
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.compose_documents import Project
from pytest_containerpolicy.targets.inventory import Header, Inventory
from tests.nouns import values

# The package's own script loses the exit code.
BINARY = Path(compose.__file__).with_name("docker-compose")
ENVIRONMENT = {"HOME": str(Path.home()), "PATH": "/usr/bin:/bin", "HOST_SIDE": "from outside"}


class Rejected(Exception):
    """Docker Compose does not accept the files; the text is its own."""


def compose_config(
    files: Sequence[Path], environment: Mapping[str, str] = ENVIRONMENT, folder: Path | None = None
) -> Project:
    """What `docker compose config` makes of files, or of a folder. Raises `Rejected`."""
    arguments = [argument for file in files for argument in ("-f", str(file))]
    done = subprocess.run(
        [BINARY, *arguments, "config", "--format", "json"],
        capture_output=True,
        check=False,
        cwd=folder,
        env=dict(environment),
        timeout=60,
    )
    if done.returncode:
        raise Rejected(done.stderr.decode())
    # Compose doubles dollar signs, and prints -1 as text, which it would not read itself.
    output = done.stdout.replace(b"$$", b"$")
    output = output.replace(b'"memswap_limit": "-1"', b'"memswap_limit": -1')
    return msgspec.json.decode(output, type=Project)


def model_values(project: Project) -> dict[str, Any]:
    """Everything that a project's model says, as plain data, without files and lines."""
    header = Header(target="compose:test", platform="compose", live=False)
    model = build_model(Inventory(header, {"projects": [project]}))
    return {"name": project.name, **noun_values(model)}


def noun_values(model: Model, without: Collection[str] = ()) -> dict[str, Any]:
    """The services, volumes and networks of a model, the parts of each in a fixed order."""
    nouns: tuple[type[Any], ...] = (Workload, NamedVolume, Network)
    return {
        str(item.ref): _ordered(values(item, ("ref", *without)))
        for noun in nouns
        for item in model.all(noun)
    }


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(map(_ordered, value), key=repr)
    return value
