"""Volumes of Kubernetes pods, and the claims, volumes and classes behind them."""

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.kubernetes_placement import node_terms
from pytest_containerpolicy.model.kubernetes_values import bytes_in, ref_of
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.quantities import whole_bytes
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.volume import (
    Claim,
    Lifetime,
    PersistentVolume,
    StorageClass,
    Volume,
)
from pytest_containerpolicy.targets import kubernetes_cluster as cluster
from pytest_containerpolicy.targets import kubernetes_pods as pods

# An inline CSI volume lives as long as its pod: https://kubernetes.io/docs/concepts/storage/volumes/
_LIFETIMES: dict[str, Lifetime] = {
    "persistent_volume_claim": "claim",
    "empty_dir": "pod",
    "ephemeral": "pod",
    "git_repo": "pod",
    "csi": "pod",
    "host_path": "node",
    "config_map": "config",
    "secret": "config",
    "projected": "config",
    "downward_api": "config",
    "image": "config",
}
_SOURCES = [name for name in pods.PodVolume.__struct_fields__ if name != "name"]
_WIRE_NAMES = dict(
    zip(pods.PodVolume.__struct_fields__, pods.PodVolume.__struct_encode_fields__, strict=True)
)


def volume_of(found: pods.PodVolume, path: str, ref: ObjectRef, model: Model) -> Volume:
    """A volume of a pod's spec. Raises `UsageError` if an amount is not a quantity."""
    # Without a source the API server makes it an emptyDir.
    source = next((name for name in _SOURCES if getattr(found, name) is not None), "empty_dir")
    empty_dir, claim = found.empty_dir, found.persistent_volume_claim
    template = found.ephemeral.volume_claim_template if found.ephemeral else None
    return Volume(
        name=found.name,
        kind=_WIRE_NAMES[source],
        lifetime=_LIFETIMES.get(source, "external"),
        path=path,
        claim_name=claim.claim_name if claim else "",
        claim_template=claim_of(template.spec, f"{path}.ephemeral.volumeClaimTemplate", ref, model)
        if template
        else None,
        host_path=found.host_path.path if found.host_path else "",
        size_limit=_size_limit(empty_dir, path) if empty_dir else None,
        in_memory=empty_dir is not None and empty_dir.medium == "Memory",
        driver=found.csi.driver if found.csi else "",
    )


def template_volume(found: pods.ClaimTemplate, path: str, ref: ObjectRef, model: Model) -> Volume:
    """The volume that a StatefulSet's claim template gives each of its pods."""
    return Volume(
        name=found.metadata.name,
        kind="persistentVolumeClaim",
        lifetime="claim",
        path=path,
        claim_template=claim_of(found.spec, path, ref, model),
    )


def claim_of(spec: pods.ClaimSpec, path: str, ref: ObjectRef, model: Model) -> Claim:
    """A template of claims; its `ref` is the workload's and `path` leads to the template."""
    claim = _claim(spec, f"{path}.spec", ref, model)
    claim.path = path
    claim.is_template = True
    return claim


def standing_claim(found: cluster.PersistentVolumeClaim, model: Model) -> Claim:
    """A PersistentVolumeClaim. Raises `UsageError` if its request is not a quantity."""
    claim = _claim(found.spec, "spec", ref_of("PersistentVolumeClaim", found), model)
    claim.phase = found.status.phase if found.status else ""
    return claim


def _claim(spec: pods.ClaimSpec, path: str, ref: ObjectRef, model: Model) -> Claim:
    requests = spec.resources.requests if spec.resources else None
    return Claim(
        ref=ref,
        model=model,
        access_modes=tuple(spec.access_modes or ()),
        storage_class_name=spec.storage_class_name,
        volume_name=spec.volume_name or "",
        request=bytes_in(requests, "storage", f"{path}.resources.requests"),
    )


def _size_limit(empty_dir: pods.EmptyDir, path: str) -> int | None:
    if empty_dir.size_limit is None:
        return None
    try:
        # Zero means no limit: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
        return whole_bytes(empty_dir.size_limit) or None
    except UsageError as error:
        raise UsageError(f"{path}.emptyDir.sizeLimit: {error}") from None


def persistent_volume(found: cluster.PersistentVolume) -> PersistentVolume:
    """A PersistentVolume with the API's default reclaim policy."""
    spec = found.spec
    return PersistentVolume(
        ref=ref_of("PersistentVolume", found),
        access_modes=tuple(spec.access_modes or ()),
        capacity=bytes_in(spec.capacity, "storage", "spec.capacity"),
        reclaim_policy=spec.persistent_volume_reclaim_policy or "Retain",
        storage_class_name=spec.storage_class_name or "",
        node_terms=node_terms(spec.node_affinity.required if spec.node_affinity else None),
        host_path=spec.host_path.path if spec.host_path else "",
    )


def storage_class(found: cluster.StorageClass) -> StorageClass:
    """A StorageClass with the API's defaults."""
    annotations = found.metadata.annotations
    return StorageClass(
        ref=ref_of("StorageClass", found),
        provisioner=found.provisioner,
        reclaim_policy=found.reclaim_policy or "Delete",
        binding=found.volume_binding_mode or "Immediate",
        expandable=bool(found.allow_volume_expansion),
        is_default=annotations is not None
        and "true" in (annotations.is_default_class, annotations.is_default_class_beta),
    )
