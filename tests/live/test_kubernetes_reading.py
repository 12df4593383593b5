"""A live cluster is read whole, as it is now, and with the least rights."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes.config import incluster_config

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.network import Service
from pytest_containerpolicy.targets.kubernetes_documents import KINDS
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.conftest import Namespace
from tests.live.kubernetes_access import Forward, in_front_of, kubeconfig_for, read
from tests.loopback import Answer, Request, write_kubeconfig
from tests.testbed import Cluster

ROLE = Path(__file__).parents[2] / "examples" / "rbac" / "observe.yaml"
OPTIONAL = {"rollouts", "httproutes"}
OBJECTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {example.com/password: annotation-value}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "x:1", env: [{name: PASSWORD, value: env-value}], args: [arg-value]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 50%, selector: {matchLabels: {app: web}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 3}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: web}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: web}
spec: {hard: {count/jobs.batch: "5"}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: web}
spec: {limits: [{type: Container, default: {cpu: 1}}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: web}
spec:
  schedule: "0 0 1 1 *"
  suspend: true
  jobTemplate:
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: "x:1"}]}}}
"""


@pytest.fixture
def shop(namespace: Namespace) -> Namespace:
    """A namespace with one object of most kinds, each named `web`."""
    namespace.kubectl("apply", "-f", "-", stdin=OBJECTS)
    return namespace


@dataclass(frozen=True)
class Observer:
    """A service account that has exactly the role that users are given."""

    kubeconfig: Path
    user: str
    token: str


@pytest.fixture(scope="module")
def observer(
    testbed_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observer]:
    """The objects of examples/rbac under a name of this process's own."""
    name = f"containerpolicy-{uuid.uuid4().hex[:8]}"
    objects = ROLE.read_text().replace("containerpolicy", name)
    testbed_cluster.kubectl("apply", "-f", "-", input=objects)
    token = testbed_cluster.kubectl("-n", name, "create", "token", "observer").strip()
    folder = tmp_path_factory.mktemp("observer")
    kubeconfig = kubeconfig_for(testbed_cluster, folder, {"token": token})
    yield Observer(kubeconfig, f"system:serviceaccount:{name}:observer", token)
    testbed_cluster.kubectl("delete", "--wait=false", "-f", "-", input=objects)


def test_everything_is_read(testbed_cluster: Cluster, shop: Namespace) -> None:
    """Every core kind is read, and each object that kubectl knows is there."""
    inventory = read(testbed_cluster.kubeconfig)
    assert ((), "v1.37.2", "kubernetes") == (
        inventory.header.unreadable,
        inventory.header.version,
        inventory.header.platform,
    )
    assert {kind.plural for kind in KINDS} - OPTIONAL == set(inventory.kinds) - OPTIONAL
    resources = ",".join(kind.resource for kind in KINDS if kind.namespaced and not kind.optional)
    listed = json.loads(shop.kubectl("get", resources, "-o", "json"))["items"]
    expected = sorted((item["kind"], item["metadata"]["name"]) for item in listed)
    found = [
        (kind.name, document.metadata.name)
        for kind in KINDS
        for document in inventory.documents(kind.plural)
        if document.metadata.namespace == shop.name
    ]
    assert 9 <= len(expected)
    assert expected == sorted(found)


def test_nodes_are_counted(testbed_cluster: Cluster) -> None:
    """The header says how many nodes the cluster has."""
    count = len(testbed_cluster.kubectl("get", "nodes", "-o", "name").split())
    assert f"{count} nodes" in read(testbed_cluster.kubeconfig).header.notes


def test_only_the_namespaces_asked_for(testbed_cluster: Cluster, shop: Namespace) -> None:
    """With a namespace, other namespaces' objects are not read; nodes are."""
    inventory = read(testbed_cluster.kubeconfig, f"&namespace={shop.name}")
    namespaces = {
        document.metadata.namespace
        for kind in KINDS
        if kind.namespaced
        for document in inventory.documents(kind.plural)
    }
    assert ({shop.name}, [shop.name], ()) == (
        namespaces,
        [found.metadata.name for found in inventory.documents("namespaces")],
        inventory.header.unreadable,
    )
    assert inventory.documents("nodes")


def test_no_stale_read(testbed_cluster: Cluster, namespace: Namespace) -> None:
    """What was written a moment ago is read."""
    for name in ("a", "b", "c"):
        namespace.kubectl("create", "service", "clusterip", name, "--tcp=80")
        inventory = read(testbed_cluster.kubeconfig, f"&namespace={namespace.name}")
        assert name in [service.metadata.name for service in inventory.documents("services")]


def test_pages_give_the_whole_list(testbed_cluster: Cluster, tmp_path: Path) -> None:
    """A list in pages of one is the list in one page."""

    def small_pages(request: Request, forward: Forward) -> Answer:
        query = request.query | ({"limit": "1"} if request.query else {})
        return forward(Request(request.path, query, {}))

    query = "&namespace=kube-system"
    with in_front_of(testbed_cluster, small_pages) as server:
        paged = read(write_kubeconfig(tmp_path / "config", server.url), query)
        pages = server.asked("/api/v1/namespaces/kube-system/pods")
    whole = read(testbed_cluster.kubeconfig, query)
    names = [pod.metadata.name for pod in whole.documents("pods")]
    assert names == [pod.metadata.name for pod in paged.documents("pods")]
    assert len(names) == len(pages) > 1


def test_values_that_may_be_secret_are_dropped(testbed_cluster: Cluster, shop: Namespace) -> None:
    """Environment values, arguments and annotations never enter an inventory."""
    content = read(testbed_cluster.kubeconfig, f"&namespace={shop.name}").to_bytes()
    assert b'"web"' in content
    found = [
        value for value in (b"env-value", b"arg-value", b"annotation-value") if value in content
    ]
    assert [] == found


def test_least_rights(testbed_cluster: Cluster, observer: Observer, shop: Namespace) -> None:
    """The role in examples/rbac reads everything; nothing else is asked, no secret, no write."""
    before = testbed_cluster.audit_log.stat().st_size
    inventory = read(observer.kubeconfig)
    events = audited(testbed_cluster, before, observer.user)
    resources = {event["objectRef"]["resource"] for event in events if "objectRef" in event}
    assert ((), {kind.plural for kind in KINDS}) == (inventory.header.unreadable, resources)
    assert {"list"} == {event["verb"] for event in events if "objectRef" in event}
    assert {"/version"} == {event["requestURI"] for event in events if "objectRef" not in event}
    codes = {event["responseStatus"]["code"] for event in events}
    assert codes <= {200, 404}
    assert "web" in [found.metadata.name for found in inventory.documents("deployments")]


def test_least_rights_in_a_namespace(
    testbed_cluster: Cluster, observer: Observer, shop: Namespace
) -> None:
    """The same role reads single namespaces, with get and list only."""
    before = testbed_cluster.audit_log.stat().st_size
    inventory = read(observer.kubeconfig, f"&namespace={shop.name}")
    events = audited(testbed_cluster, before, observer.user)
    assert () == inventory.header.unreadable
    assert {"get", "list"} == {event["verb"] for event in events}
    assert "secrets" not in {event.get("objectRef", {}).get("resource") for event in events}


def audited(cluster: Cluster, start: int, user: str) -> list[dict[str, Any]]:
    """What the API server logged of a user since its audit log was so long."""
    with cluster.audit_log.open("rb") as log:
        log.seek(start)
        events = [json.loads(line) for line in log]
    return [event for event in events if event["user"]["username"] == user]


def test_the_role_is_what_is_read() -> None:
    """The role names each kind that is read, its group, get and list; nothing more."""
    role = next(yaml.safe_load_all(ROLE.read_text()))
    granted = {
        (group, resource): rule["verbs"]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert {(kind.group, kind.plural): ["get", "list"] for kind in KINDS} == granted


def test_inside_a_pod(
    testbed_cluster: Cluster,
    observer: Observer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pod's own service account reads the cluster it runs in."""
    files = {"SERVICE_TOKEN_FILENAME": observer.token, "SERVICE_CERT_FILENAME": ca(testbed_cluster)}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(incluster_config, name, str(tmp_path / name))
    server = urlsplit(testbed_cluster.server)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    header = parse_target("k8s+incluster://").read(Timeouts()).header
    assert ("k8s:incluster", "v1.37.2", ()) == (header.target, header.version, header.unreadable)


def ca(cluster: Cluster) -> str:
    """The certificate authority of the cluster, as PEM."""
    return cluster.kubeconfig.with_name("ca.crt").read_text()


def test_credential_plugin(testbed_cluster: Cluster, observer: Observer, tmp_path: Path) -> None:
    """A credential plugin's token opens the cluster."""
    version = "client.authentication.k8s.io/v1"
    credential = {
        "apiVersion": version,
        "kind": "ExecCredential",
        "status": {"token": observer.token},
    }
    (tmp_path / "credential").write_text(json.dumps(credential))
    user = {"exec": {"apiVersion": version, "command": "cat", "args": ["credential"]}}
    assert () == read(kubeconfig_for(testbed_cluster, tmp_path, user)).header.unreadable


def test_ready_endpoints(testbed_cluster: Cluster) -> None:
    """A service knows how many ready addresses are behind it now."""
    model = build_model(read(testbed_cluster.kubeconfig))
    dns = model.get(Service, "kube-dns", "kube-system")

    assert dns is not None
    assert 2 == dns.ready_endpoints
