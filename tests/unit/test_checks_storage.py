"""What the storage checks do that an example can't show: parameters, live targets, odd paths."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from pytest_containerpolicy.checks.host_paths import is_system, leads_to_runtime, real_path
from pytest_containerpolicy.checks.registry import find_check
from pytest_containerpolicy.checks.stateful_images import data_directories
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.placement import NodeTerm, Placement
from pytest_containerpolicy.model.selectors import Requirement
from pytest_containerpolicy.policies import builtin_pack, load_policy
from pytest_containerpolicy.targets.docker_examples import read_example_documents
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from pytest_containerpolicy.verdicts import evaluate

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  template:
    metadata: {labels: {app: orders}}
    spec:
      containers:
        - {name: app, image: "example/ledger:1", volumeMounts: [{name: data, mountPath: /data}]}
      volumes: [{name: data, persistentVolumeClaim: {claimName: orders-data}}]
"""
HOST_PATH_VOLUME = """
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: orders-data, namespace: shop}
spec: {accessModes: [ReadWriteOnce], volumeName: disk}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], hostPath: {path: /srv/orders}}
"""
GLOBAL_SERVICE = {
    "services": [
        {
            "Spec": {
                "Name": "agent",
                "Mode": {"Global": {}},
                "TaskTemplate": {
                    "ContainerSpec": {
                        "Image": "example/agent:1",
                        "Mounts": [{"Type": "bind", "Source": "/mnt/files/a", "Target": "/a"}],
                    }
                },
            }
        }
    ]
}


def _read(uri: str, *, live: bool) -> Inventory:
    inventory = parse_target(uri).read(Timeouts())
    return inventory.with_header(replace(inventory.header, live=live))


def _manifests(folder: Path, text: str, *, live: bool = False) -> Model:
    (folder / "objects.yaml").write_text(text)
    return build_model(_read(f"manifests:{folder}", live=live))


def _compose(folder: Path, service: dict[str, Any], *, live: bool = False) -> Model:
    project = {"name": "shop", "services": {"web": service}, "volumes": {"data": {}}}
    (folder / "compose.yaml").write_text(yaml.safe_dump(project))
    return build_model(_read(f"compose:{folder / 'compose.yaml'}", live=live))


def _swarm(mode: dict[str, Any]) -> Model:
    service = GLOBAL_SERVICE["services"][0]["Spec"] | {"Mode": mode}
    return build_model(read_example_documents({"services": [{"Spec": service}]}, "swarm", "test"))


def _found(model: Model, check: str, **params: Any) -> list[str]:
    chosen = find_check(check)
    judgement = chosen.judge(model, chosen.convert(params))
    return [finding.violation.found for finding in judgement.findings]


def test_a_host_path_behind_a_claim_stays_on_its_node(tmp_path: Path) -> None:
    """On a cluster, a claim bound to a hostPath volume is data on whichever node runs the pod."""
    nodes = "".join(
        f"\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}" for name in ("a", "b")
    )
    model = _manifests(tmp_path, DEPLOYMENT + HOST_PATH_VOLUME + nodes, live=True)

    assert [
        "persistentVolumeClaim data is on the node at /srv/orders, no node is chosen"
    ] == _found(model, "data_follows_workload")


def test_files_do_not_tell_what_a_claim_is_bound_to(tmp_path: Path) -> None:
    """Among files a claim is taken for storage that every node can reach."""
    model = _manifests(tmp_path, DEPLOYMENT)

    assert [] == _found(model, "data_follows_workload")


@pytest.mark.parametrize(
    ("live", "expected"), [(True, ["claim orders-data does not exist"]), (False, [])]
)
def test_missing_claim(tmp_path: Path, live: bool, expected: list[str]) -> None:
    """A claim that a cluster does not have is a finding; files may leave it to others."""
    model = _manifests(tmp_path, DEPLOYMENT, live=live)

    assert expected == _found(model, "claims_are_bound")


@pytest.mark.parametrize(
    ("images", "judged", "expected"),
    [
        ({}, 0, []),
        ({"ledger": "/data"}, 1, []),
        ({"example/ledger": "/books"}, 1, ["data directory /books is on no volume"]),
    ],
)
def test_own_images(
    tmp_path: Path, images: dict[str, str], judged: int, expected: list[str]
) -> None:
    """Images of one's own are judged once the policy names them and their directory."""
    model = _manifests(tmp_path, DEPLOYMENT)
    judgement = find_check("data_outlives_container").judge(model, {"images": images})

    assert judged == judgement.judged
    assert expected == [finding.violation.found for finding in judgement.findings]


def test_a_running_project_lists_the_volumes_of_its_images(tmp_path: Path) -> None:
    """A mount above the data directory hides nothing where the engine lists every mount."""
    service = {"image": "mongo:8", "volumes": ["data:/data"]}

    assert [] == _found(_compose(tmp_path, service, live=True), "data_outlives_container")
    assert 1 == len(_found(_compose(tmp_path, service), "data_outlives_container"))


@pytest.mark.parametrize("profile", ["baseline", "strict", "audit"])
def test_global_services_are_judged_in_the_strict_profile(profile: Any) -> None:
    """Whether each node of a global service may keep its own data is a matter of profile."""
    file = builtin_pack().folder / "storage" / "claims-fit-replicas" / "policy.yaml"
    result = evaluate(load_policy(file, "builtin", profile), _swarm({"Global": {}}))

    assert ("failed" if profile == "strict" else "passed") == result.verdict


@pytest.mark.parametrize("check", ["claims_fit_replicas", "data_follows_workload"])
def test_paths_that_all_nodes_share(check: str) -> None:
    """A bind mount below a path that every node mounts from one server is the same everywhere."""
    model = _swarm({"Replicated": {"Replicas": 2}})

    assert 1 == len(_found(model, check))
    assert [] == _found(model, check, shared_paths=["/mnt/files/"])
    assert 1 == len(_found(model, check, shared_paths=["/mnt/file"]))


def test_allowed_host_paths(tmp_path: Path) -> None:
    """Globs of `allow` match the host's path without its detours."""
    model = _compose(tmp_path, {"image": "example/cni:1", "volumes": ["/etc//cni/net.d:/cni"]})

    assert [] == _found(model, "no_sensitive_host_paths", allow=["/etc/cni/*"])
    assert 1 == len(_found(model, "no_sensitive_host_paths", allow=["/etc/cni"]))


def test_allowed_anonymous_volumes(tmp_path: Path) -> None:
    """Globs of `allow` match the destination in the container."""
    model = _compose(tmp_path, {"image": "example/web:1", "volumes": ["/app/node_modules"]})

    assert [] == _found(model, "no_anonymous_volumes", allow=["*/node_modules"])
    assert 1 == len(_found(model, "no_anonymous_volumes"))


def test_named_pipe_of_the_engine(tmp_path: Path) -> None:
    """On Windows the engine's socket is a named pipe."""
    pipe = {"type": "npipe", "source": r"\\.\pipe\docker_engine", "target": r"\\.\pipe\engine"}
    model = _compose(tmp_path, {"image": "example/ci:1", "volumes": [pipe]})

    assert ["host path /pipe/docker_engine leads to the container runtime's socket"] == _found(
        model, "no_sensitive_host_paths"
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("/", "/"),
        ("//", "/"),
        ("/etc/", "/etc"),
        ("/etc/../etc/./x", "/etc/x"),
        ("/../etc", "/etc"),
        ("/var/run", "/run"),
        ("/var/./run/docker.sock", "/run/docker.sock"),
        ("/var/running", "/var/running"),
    ],
)
def test_real_path(path: str, expected: str) -> None:
    """A host's path is the same however it is written."""
    assert expected == real_path(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/run/docker.sock", True),
        ("/run", True),
        ("/run/containerd", True),
        ("/run/k3s", True),
        ("/run/user/1000/podman/podman.sock", True),
        ("/", False),
        ("/run/containers", False),
        ("/run/postgresql", False),
        ("/srv/docker.sock.d", False),
    ],
)
def test_leads_to_runtime(path: str, expected: bool) -> None:
    """A runtime's socket, and every directory below the root that holds one."""
    assert expected is leads_to_runtime(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", True),
        ("/etc", True),
        ("/etc/kubernetes/manifests", True),
        ("/var", True),
        ("/var/lib", True),
        ("/var/lib/kubelet/pods", True),
        ("/dev", True),
        ("/dev/dri", False),
        ("/etcd", False),
        ("/var/lib/postgresql", False),
        ("/var/log", False),
        ("/home/shop", False),
    ],
)
def test_is_system(path: str, expected: bool) -> None:
    """System directories with what is below them, and the directories above them."""
    assert expected is is_system(path)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("postgres:17.5-alpine3.21", ["/var/lib/postgresql/data"]),
        ("postgres:18", ["/var/lib/postgresql/18/docker"]),
        ("postgres", ["/var/lib/postgresql", "/var/lib/postgresql/data"]),
        ("postgres@sha256:00", ["/var/lib/postgresql", "/var/lib/postgresql/data"]),
        ("timescale/timescaledb:2.17.2-pg16", ["/var/lib/postgresql/data"]),
        ("registry.example.com:5000/Team/MySQL:8", ["/var/lib/mysql"]),
        ("mcr.microsoft.com/mssql/server:2022-latest", ["/var/opt/mssql", "/var/opt/mssql/data"]),
        ("bitnamisecure/mongodb:latest", ["/bitnami/mongodb/data/db"]),
        ("bitnami/nginx", []),
        ("prometheuscommunity/postgres-exporter", []),
        ("example/server:1", []),
        ("", []),
    ],
)
def test_data_directories(image: str, expected: list[str]) -> None:
    """An image's data directory follows from its name, and from its version where that matters."""
    assert expected == [directory.path for directory in data_directories(image)]


def _in(key: str, *values: str) -> Requirement:
    return Requirement(key, "In", values)


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement(), ""),
        (Placement(node_name="a"), "a"),
        (Placement(required=(_in("kubernetes.io/hostname", "a"),)), "a"),
        (Placement(required=(_in("node.id", "a"),)), "a"),
        (Placement(required=(_in("zone", "a"),)), ""),
        (Placement(required=(Requirement("node.hostname", "NotIn", ("a",)),)), ""),
        (Placement(terms=(NodeTerm(fields=(_in("metadata.name", "a"),)),)), "a"),
        (Placement(terms=(NodeTerm((_in("kubernetes.io/hostname", "a", "b"),)),)), ""),
        (
            Placement(
                terms=(
                    NodeTerm((_in("kubernetes.io/hostname", "a"),)),
                    NodeTerm((_in("kubernetes.io/hostname", "b"),)),
                )
            ),
            "",
        ),
        (
            Placement(terms=(NodeTerm((_in("kubernetes.io/hostname", "a"),)), NodeTerm())),
            "",
        ),
    ],
)
def test_only_node(placement: Placement, expected: str) -> None:
    """A placement names one node when every alternative names the same one."""
    assert expected == placement.only_node
