"""A target that was read earlier: `snapshot:FILE`."""

from pathlib import Path

from msgspec.structs import replace

from pytest_containerpolicy.errors import TargetError, Unreachable
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Target, TargetUri, Timeouts


class SnapshotTarget(Target):
    """Replays what `containerpolicy snapshot` wrote; its platform is known once it is read."""

    def __init__(self, uri: str, path: Path) -> None:
        self.uri = uri
        self.path = path
        self.id = f"snapshot:{str(path).replace('::', ':')}"

    @classmethod
    def from_uri(cls, uri: TargetUri) -> "SnapshotTarget":
        if not uri.is_file or not uri.path:
            raise TargetError(f"{uri.text}: write snapshot:FILE")
        return cls(uri.text, Path(uri.path))

    def read(self, timeouts: Timeouts) -> Inventory:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise Unreachable(f"{self.path}: {error.strerror}") from None
        inventory = Inventory.from_bytes(content, str(self.path))
        header = inventory.header
        note = f"taken of {header.target} on {header.taken_at}"
        return inventory.with_header(replace(header, target=self.id, notes=(note, *header.notes)))
