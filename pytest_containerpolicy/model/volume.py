"""Where data lives, and what happens to it when a container is replaced."""

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from pytest_containerpolicy.model.placement import NodeTerm, only_node
from pytest_containerpolicy.model.refs import ObjectRef

if TYPE_CHECKING:
    from pytest_containerpolicy.model.model import Model

Lifetime = Literal["container", "pod", "node", "claim", "external", "config"]
READ_WRITE_ONCE = "ReadWriteOnce"
READ_WRITE_ONCE_POD = "ReadWriteOncePod"


class Volume(Struct, frozen=True, kw_only=True):
    """A volume of a workload.

    `lifetime` says what destroys the data: replacing the `container` or the `pod`, losing the
    `node`, the claim's reclaim policy, nothing here (`external`); `config` is not data.
    `kind` is the platform's own word: emptyDir, hostPath, persistentVolumeClaim, bind, volume,
    anonymous, tmpfs, ...; `path` leads to the declaration.
    """

    name: str
    kind: str
    lifetime: Lifetime
    path: str = ""
    claim_name: str = ""
    claim_template: "Claim | None" = None
    host_path: str = ""
    size_limit: int | None = None
    in_memory: bool = False
    driver: str = ""


class Claim(Struct, eq=False, kw_only=True):
    """A PersistentVolumeClaim, or a workload's template of claims (`is_template`)."""

    ref: ObjectRef
    model: "Model"
    path: str = ""
    access_modes: tuple[str, ...] = ()
    storage_class_name: str | None = None
    volume_name: str = ""
    request: int | None = None
    phase: str = ""
    is_template: bool = False

    @property
    def on_one_node(self) -> bool:
        """Whether only one node (or one pod) can mount it at a time.

        A bound volume may allow more than the claim asks for: what is attached is the volume.
        Raises `CannotLook` if persistent volumes could not be read.
        """
        volume = self.persistent_volume
        modes = set(volume.access_modes if volume else self.access_modes)
        return self.for_one_pod or (bool(modes) and modes <= {READ_WRITE_ONCE, READ_WRITE_ONCE_POD})

    @property
    def for_one_pod(self) -> bool:
        """Whether only one pod can mount it at a time, wherever it runs."""
        return READ_WRITE_ONCE_POD in self.access_modes

    @property
    def only_node(self) -> str:
        """The one node where its bound volume is; empty if it can move, or is not bound.

        Raises `CannotLook` if persistent volumes could not be read.
        """
        volume = self.persistent_volume
        return only_node(volume.node_terms) if volume else ""

    @property
    def storage_class(self) -> "StorageClass | None":
        """Its class, or the cluster's default; None when there is none by that name.

        Raises `CannotLook` if storage classes could not be read.
        """
        return self.model.storage_class(self.storage_class_name)

    @property
    def persistent_volume(self) -> "PersistentVolume | None":
        """The volume it is bound to, if it is. Raises `CannotLook` if volumes were not read."""
        return self.model.get(PersistentVolume, self.volume_name) if self.volume_name else None


class PersistentVolume(Struct, eq=False, kw_only=True):
    """A cluster's volume. `node_terms` are the alternatives that its node affinity allows.

    `host_path` is the directory of a hostPath volume, which is another one on every node.
    """

    ref: ObjectRef
    access_modes: tuple[str, ...] = ()
    capacity: int | None = None
    reclaim_policy: str = "Retain"
    storage_class_name: str = ""
    node_terms: tuple[NodeTerm, ...] = ()
    host_path: str = ""


class StorageClass(Struct, eq=False, kw_only=True):
    """How volumes are made, bound and given back."""

    ref: ObjectRef
    provisioner: str = ""
    reclaim_policy: str = "Delete"
    binding: str = "Immediate"
    expandable: bool = False
    is_default: bool = False


class NamedVolume(Struct, eq=False, kw_only=True):
    """A volume that an engine, a Compose project or a Swarm knows by name."""

    ref: ObjectRef
    driver: str = "local"
    external: bool = False
    driver_options: tuple[str, ...] = ()
