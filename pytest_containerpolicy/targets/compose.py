"""A Compose project as a target: its files (`compose:PATH[,PATH]`) or what runs of it.

compose:shop    compose:compose.yaml,compose.prod.yaml    compose://shop?context=production
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.compose_files import DEFAULT_FILES, read_project
from pytest_containerpolicy.targets.inventory import Header, Inventory
from pytest_containerpolicy.targets.uri import Target, TargetUri, Timeouts


class ComposeTarget(Target):
    """The files of a project, read as `docker compose config` reads them.

    `.env` beside the first file, the environment, COMPOSE_PROFILES and COMPOSE_PROJECT_NAME count
    as they do for Compose. Remote `include` and `extends` are errors.
    """

    platform = "compose"

    def __init__(self, uri: str, paths: Sequence[Path]) -> None:
        self.uri = uri
        self.paths = tuple(paths)
        self.id = f"compose:{','.join(map(_short_name, self.paths))}"

    @classmethod
    def from_uri(cls, uri: TargetUri) -> Target:
        if not uri.is_file:
            # Imported late: reading files needs nothing of Docker.
            from pytest_containerpolicy.targets.compose_running import RunningProjectTarget

            return RunningProjectTarget.from_uri(uri)
        names = uri.path.split(",")
        if not all(names):
            raise TargetError(f"{uri.text}: write compose:PATH[,PATH] or compose://PROJECT")
        return cls(uri.text, [Path(name) for name in names])

    def read(self, timeouts: Timeouts) -> Inventory:
        reading = read_project(self.paths, os.environ)
        return Inventory(
            Header(
                target=self.id,
                platform="compose",
                objects=len(reading.project.services),
                live=False,
                notes=reading.notes,
            ),
            {"projects": [reading.project]},
        )


def _short_name(path: Path) -> str:
    """The path as written, without a default file name: `shop/compose.yaml` is `shop`."""
    folder = path.parent if path.name in DEFAULT_FILES else path
    return Path.cwd().name if folder == Path() else str(folder)
