"""Each target is read once per run, at one moment, for all policies and all xdist workers."""

import gc
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from pytest_containerpolicy.errors import ContainerPolicyError, Unreachable
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Target, Timeouts


class Readings:
    """The inventories and models of a run's targets, read when first asked for.

    With a `shared` folder whoever comes first reads and writes a file there; the others wait
    for it and read the file. A target that could not be read stays so for the whole run.
    """

    def __init__(
        self, targets: Sequence[Target], timeouts: Timeouts, shared: Path | None = None
    ) -> None:
        self.targets = {target.id: target for target in targets}
        self._timeouts = timeouts
        self._shared = shared
        self._models: dict[str, Model | str] = {}
        self.inventories: dict[str, Inventory] = {}

    def model(self, target_id: str) -> Model:
        """The model of a target. Raises `Unreachable` if it could not be read."""
        if target_id not in self._models:
            self._models[target_id] = self._read(target_id)
        model = self._models[target_id]
        if isinstance(model, str):
            raise Unreachable(model)
        return model

    def _read(self, target_id: str) -> Model | str:
        with _heap_left_alone():
            try:
                inventory = self._inventory(self.targets[target_id])
                self.inventories[target_id] = inventory
                return build_model(inventory)
            except ContainerPolicyError as error:
                return str(error)

    def _inventory(self, target: Target) -> Inventory:
        if self._shared is None:
            return _take(target, self._timeouts)
        return _shared(self._shared / _slug(target.id), lambda: _take(target, self._timeouts))

    def already_read(self, target_id: str) -> Inventory | None:
        """The inventory if this process, or a worker that shares its folder, has read it."""
        if target_id in self.inventories:
            return self.inventories[target_id]
        if self._shared is None:
            return None
        file = self._shared / f"{_slug(target_id)}.json"
        return Inventory.from_bytes(file.read_bytes(), target_id) if file.exists() else None


def take_inventory(target: Target, timeouts: Timeouts) -> Inventory:
    """Read a target now. Raises `Unreachable` or `UsageError` if it can't be read."""
    with _heap_left_alone():
        return _take(target, timeouts)


def _take(target: Target, timeouts: Timeouts) -> Inventory:
    started = time.perf_counter()
    taken_at = datetime.now(UTC).isoformat(timespec="seconds")
    inventory = target.read(timeouts)
    header = inventory.header
    if header.taken_at:
        return inventory
    seconds = round(time.perf_counter() - started, 3)
    objects = header.objects or len(inventory)
    header = replace(header, taken_at=taken_at, seconds=seconds, objects=objects)
    return inventory.with_header(header)


def _shared(base: Path, read: Callable[[], Inventory]) -> Inventory:
    from filelock import FileLock

    file, failure = base.with_suffix(".json"), base.with_suffix(".error")
    with FileLock(base.with_suffix(".lock")):
        if failure.exists():
            raise Unreachable(failure.read_text())
        if file.exists():
            return Inventory.from_bytes(file.read_bytes(), base.name)
        try:
            inventory = read()
        except ContainerPolicyError as error:
            failure.write_text(str(error))
            raise
        inventory.save(file)
        return inventory


def _slug(target_id: str) -> str:
    # Two ids may read alike once spelt as a file name; they must never share a file.
    digest = hashlib.sha256(target_id.encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9-]+', '_', target_id)[:80]}-{digest}"


@contextmanager
def _heap_left_alone() -> Iterator[None]:
    # Decoding makes many objects that live to the end of the run: collecting in between costs
    # more than the decoding itself, and walking them at exit costs again.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
