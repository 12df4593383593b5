"""What there is to judge around here: kube context, Docker daemon, Compose file, manifests."""

from pathlib import Path

from pytest_containerpolicy.errors import ContainerPolicyError, TargetError
from pytest_containerpolicy.targets.docker_connection import connect, named_endpoint
from pytest_containerpolicy.targets.kubernetes_kubeconfig import find_access
from pytest_containerpolicy.targets.uri import Timeouts
from pytest_containerpolicy.targets.yaml_files import load_documents

_COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_PATIENCE = Timeouts(connect=2, read=5)


def discover(folder: Path) -> list[tuple[str, str]]:
    """Target URIs and why they are there, in the order cluster, daemon, files."""
    return [*_cluster(), *_daemon(), *_compose_file(folder), *_manifests(folder)]


def _cluster() -> list[tuple[str, str]]:
    try:
        access = find_access("k8s://", "", None)
    except TargetError:
        return []
    return [("k8s://", f"current context {access.context} of {access.location}")]


def _daemon() -> list[tuple[str, str]]:
    try:
        endpoint = named_endpoint("", "engine://")
        with connect(endpoint, _PATIENCE) as client:
            manager = client.info().get("Swarm", {}).get("ControlAvailable", False)
    except ContainerPolicyError:
        return []
    found = [("engine://", endpoint.note)]
    return [*found, ("swarm://", "that daemon manages a Swarm")] if manager else found


def _compose_file(folder: Path) -> list[tuple[str, str]]:
    names = [name for name in _COMPOSE_FILES if (folder / name).is_file()]
    return [(f"compose:{names[0]}", "Compose file in this folder")] if names else []


def _manifests(folder: Path) -> list[tuple[str, str]]:
    files = [*folder.glob("*.yaml"), *folder.glob("*.yml"), *folder.glob("*/*.yaml")]
    for file in sorted(files):
        if file.name not in _COMPOSE_FILES and _is_manifest(file):
            place = file.parent.relative_to(folder).as_posix()
            return [(f"manifests:{place}", f"{file.relative_to(folder)} is a Kubernetes manifest")]
    return []


def _is_manifest(file: Path) -> bool:
    try:
        contents = [document.content for document in load_documents(file)]
    except ContainerPolicyError:
        return False
    return any(isinstance(c, dict) and "apiVersion" in c and "kind" in c for c in contents)
