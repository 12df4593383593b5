"""Whatever goes wrong between here and a real cluster: one line, no traceback, never a pass."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import TargetError, Unreachable
from pytest_containerpolicy.targets.inventory import Unreadable
from pytest_containerpolicy.targets.kubernetes_documents import KINDS
from pytest_containerpolicy.targets.uri import Timeouts
from tests.live.conftest import Namespace
from tests.live.kubernetes_access import (
    Forward,
    account,
    cutting,
    expired,
    in_front_of,
    kubeconfig_for,
    read,
)
from tests.loopback import Answer, Request, write_kubeconfig
from tests.testbed import Cluster
from tests.testbed.shell import in_namespace, run

CROWD = "poddisruptionbudgets"
ROLLOUTS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.argoproj.io}
spec:
  group: argoproj.io
  scope: Namespaced
  names: {kind: Rollout, plural: rollouts}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
# Etcd's own HTTP gateway; the control plane's etcd listens in the cluster's network namespace.
COMPACT = """
import json, urllib.request
def ask(path, **body):
    request = urllib.request.Request(f"http://127.0.0.1:2379/v3/{path}", json.dumps(body).encode())
    return json.load(urllib.request.urlopen(request))
ask("kv/compaction", revision=ask("kv/range", key="AA==")["header"]["revision"])
"""


def unreachable(kubeconfig: Path, query: str = "", timeouts: Timeouts | None = None) -> str:
    """The one line that a cluster which can't be read gives."""
    with pytest.raises(Unreachable) as caught:
        read(kubeconfig, query, timeouts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def to(cluster: Cluster, folder: Path, **changes: object) -> Path:
    """The administrator's kubeconfig with a changed cluster entry."""
    return kubeconfig_for(cluster, folder, changes=changes)


def address(server: str) -> str:
    """A URL's host and port."""
    return server.removeprefix("https://")


@pytest.fixture
def crowd(namespace: Namespace) -> Namespace:
    """A namespace whose list of disruption budgets is far longer than any other list."""
    padding = {"example.com/padding": "x" * 4000}
    namespace.apply(
        *(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": f"crowd-{number}", "annotations": padding},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}},
            }
            for number in range(40)
        )
    )
    return namespace


@pytest.fixture
def rollouts(testbed_cluster: Cluster) -> Iterator[None]:
    """The API serves `rollouts` of any shape."""
    testbed_cluster.kubectl("apply", "-f", "-", input=ROLLOUTS)
    testbed_cluster.kubectl("wait", "--for=condition=Established", "crd/rollouts.argoproj.io")
    yield
    testbed_cluster.kubectl("delete", "crd", "rollouts.argoproj.io")


def test_nobody_listens(testbed_cluster: Cluster, tmp_path: Path) -> None:
    """A port on which nothing listens is named, with what to check."""
    server = testbed_cluster.server.replace("6443", "6444")
    expected = (
        f"k8s:lab: {address(server)}: Connection refused:"
        " check that the cluster runs and this machine may reach it"
    )
    assert expected == unreachable(to(testbed_cluster, tmp_path, server=server))


def test_nobody_answers(testbed_cluster: Cluster, tmp_path: Path) -> None:
    """A server that accepts and stays silent is waited for as long as asked, once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"https://127.0.0.1:{silent.getsockname()[1]}"
        text = unreachable(to(testbed_cluster, tmp_path, server=server), "", Timeouts(0.5, 0.5))
    assert text.startswith(f"k8s:lab: {address(server)}: no ")


def test_wrong_certificate_authority(testbed_cluster: Cluster, tmp_path: Path) -> None:
    """A server whose certificate another authority signed is not talked to."""
    other = testbed_cluster.kubeconfig.with_name("front-proxy-ca.crt").read_bytes()
    changes = {"certificate-authority-data": base64.b64encode(other).decode()}
    text = unreachable(to(testbed_cluster, tmp_path, **changes))
    assert text.startswith(
        f"k8s:lab: {address(testbed_cluster.server)}: certificate verify failed: "
    )
    assert text.endswith(": check certificate-authority in the kubeconfig")


def test_wrong_host_name(testbed_cluster: Cluster, tmp_path: Path) -> None:
    """A server whose certificate names another host is not talked to."""
    text = unreachable(to(testbed_cluster, tmp_path, **{"tls-server-name": "elsewhere.example"}))
    assert "certificate verify failed: Hostname mismatch" in text


def test_certificate_authority_that_is_none(testbed_cluster: Cluster, tmp_path: Path) -> None:
    """A certificate authority that is no certificate is an error of this kubeconfig."""
    changes = {"certificate-authority-data": base64.b64encode(b"nonsense").decode()}
    text = unreachable(to(testbed_cluster, tmp_path, **changes))
    assert text.startswith(f"k8s:lab: {address(testbed_cluster.server)}: no TLS connection: ")


@pytest.mark.parametrize("is_expired", [False, True])
def test_rejected_token(
    testbed_cluster: Cluster, namespace: Namespace, tmp_path: Path, is_expired: bool
) -> None:
    """A token that is invalid or has expired is called so."""
    token = expired(testbed_cluster, account(namespace, "late")) if is_expired else "nonsense"
    expected = (
        f"k8s:lab: {address(testbed_cluster.server)}: credentials rejected (401):"
        " the token or certificate is invalid or has expired"
    )
    assert expected == unreachable(kubeconfig_for(testbed_cluster, tmp_path, {"token": token}))


def test_no_rights_at_all(testbed_cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    """A user who may read nothing is told what is needed, and that namespaces can be named."""
    config = kubeconfig_for(testbed_cluster, tmp_path, {"token": account(namespace, "nobody")})
    text = unreachable(config)
    assert ": no kind can be read: forbidden (403): needs get,list on pods, " in text
    assert text.endswith("or name the namespaces that you may read: ?namespace=NAME")
    assert unreachable(config, f"&namespace={namespace.name}").endswith("namespaces")


def test_forbidden_kind(testbed_cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    """A user who may read all kinds but one gets a gap for that one only."""
    token = account(namespace, "almost")
    allowed = [
        {"apiGroups": [kind.group], "resources": [kind.plural], "verbs": ["get", "list"]}
        for kind in KINDS
        if kind.plural != "persistentvolumeclaims"
    ]
    name = f"almost-{namespace.name}"
    role = {"kind": "ClusterRole", "metadata": {"name": name}, "rules": allowed}
    role["apiVersion"] = "rbac.authorization.k8s.io/v1"
    testbed_cluster.kubectl("apply", "-f", "-", input=json.dumps(role))
    user = f"--serviceaccount={namespace.name}:almost"
    testbed_cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", user)
    try:
        inventory = read(kubeconfig_for(testbed_cluster, tmp_path, {"token": token}))
    finally:
        testbed_cluster.kubectl("delete", "clusterrole,clusterrolebinding", name)
    claims = "persistentvolumeclaims"
    gap = Unreadable(claims, "forbidden (403)", None, f"get,list on {claims}")
    assert (gap,) == inventory.header.unreadable
    assert claims not in inventory.kinds


def test_rights_in_one_namespace(
    testbed_cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    """A user of one namespace reads it; what is the cluster's is a gap, and add-ons are absent."""
    token = account(namespace, "local")
    user = f"--serviceaccount={namespace.name}:local"
    namespace.kubectl("create", "rolebinding", "local", "--clusterrole=view", user)
    config = kubeconfig_for(testbed_cluster, tmp_path, {"token": token})
    unreadable = read(config, f"&namespace={namespace.name}").header.unreadable
    cluster_wide = {kind.plural for kind in KINDS if not kind.namespaced} - {"namespaces"}
    assert cluster_wide == {gap.kind for gap in unreadable}
    both = read(config, f"&namespace={namespace.name}&namespace=default").header.unreadable
    assert Unreadable("pods", "forbidden (403)", "default", "get,list on pods") in both


def test_misspelt_namespace(testbed_cluster: Cluster, namespace: Namespace) -> None:
    """A namespace that the cluster does not have is an error with the nearest name."""
    with pytest.raises(TargetError) as caught:
        read(testbed_cluster.kubeconfig, f"&namespace={namespace.name}x")
    expected = f"k8s:testbed: no namespace '{namespace.name}x'; did you mean '{namespace.name}'?"
    assert str(caught.value).startswith(expected)


def test_server_dies_in_the_middle_of_a_list(
    testbed_cluster: Cluster, crowd: Namespace, tmp_path: Path
) -> None:
    """A list that breaks every time is a gap; shorter lists are read."""
    with cutting(testbed_cluster.server, after=100_000) as server:
        config = to(testbed_cluster, tmp_path, server=server, **{"tls-server-name": "kubernetes"})
        inventory = read(config, f"&namespace={crowd.name}")
    assert [CROWD] == [gap.kind for gap in inventory.header.unreadable]
    assert CROWD not in inventory.kinds
    assert inventory.documents("nodes")


def test_server_dies_for_good(testbed_cluster: Cluster, crowd: Namespace, tmp_path: Path) -> None:
    """When the server is gone in the middle, what was not read is a gap, not nothing."""
    with cutting(testbed_cluster.server, after=60_000, dies=True) as server:
        config = to(testbed_cluster, tmp_path, server=server, **{"tls-server-name": "kubernetes"})
        inventory = read(config, f"&namespace={crowd.name}")
    gone = {gap.kind for gap in inventory.header.unreadable}
    core = {kind.plural for kind in KINDS if not kind.optional}
    assert CROWD in gone
    assert core == (gone | set(inventory.kinds)) & core
    assert set() == gone & set(inventory.kinds)


@pytest.mark.parametrize("again", [False, True])
def test_continue_token_gone(
    testbed_cluster: Cluster, crowd: Namespace, tmp_path: Path, again: bool
) -> None:
    """A token of a compacted moment restarts the list once; the second time it is a gap."""
    spoiled: list[str] = []

    def spoil(request: Request, forward: Forward) -> Answer:
        query = request.query | ({"limit": "15"} if "limit" in request.query else {})
        answer = forward(Request(request.path, query, {}))
        if request.path.endswith(f"/{CROWD}") and "continue" not in query:
            if again or not spoiled:
                answer = Answer(_of_old(answer.body), answer.status)
            spoiled.append(request.path)
        return answer

    compact = in_namespace(testbed_cluster.site.label, [sys.executable, "-c", COMPACT])
    subprocess.run(compact, check=False, capture_output=True)
    with in_front_of(testbed_cluster, spoil) as server:
        inventory = read(
            write_kubeconfig(tmp_path / "config", server.url), f"&namespace={crowd.name}"
        )
    assert 2 == len(spoiled)
    if again:
        gap = Unreadable(CROWD, "the list changed while it was read (410)", crowd.name)
        assert (gap,) == inventory.header.unreadable
    else:
        assert () == inventory.header.unreadable
        assert 40 == len(inventory.documents(CROWD))


def _of_old(page: bytes) -> bytes:
    """The page, with a continue token of the cluster's first moments."""
    content = json.loads(page)
    token = content["metadata"]["continue"]
    position = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    position["rv"] = 2
    old = base64.urlsafe_b64encode(json.dumps(position).encode()).rstrip(b"=").decode()
    content["metadata"]["continue"] = old
    return json.dumps(content).encode()


def test_object_with_odd_types(
    testbed_cluster: Cluster, namespace: Namespace, rollouts: None
) -> None:
    """A custom object whose fields are not what they should be is a gap; its list is read."""
    api = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    namespace.apply(
        {**api, "metadata": {"name": "good"}, "spec": {"replicas": 3}},
        {**api, "metadata": {"name": "odd"}, "spec": {"replicas": "three"}},
    )
    inventory = read(testbed_cluster.kubeconfig, f"&namespace={namespace.name}")
    reason = "Rollout odd is malformed: Expected `int | null`, got `str` - at `$.spec.replicas`"
    assert (Unreadable("rollouts", reason, namespace.name),) == inventory.header.unreadable
    assert ["good"] == [rollout.metadata.name for rollout in inventory.documents("rollouts")]


def test_kind_that_the_cluster_does_not_know(testbed_cluster: Cluster) -> None:
    """Kinds of add-ons that are not installed are absent, without a gap."""
    inventory = read(testbed_cluster.kubeconfig)
    assert "httproutes" not in inventory.kinds
    assert () == inventory.header.unreadable


def test_failing_credential_plugin(testbed_cluster: Cluster, tmp_path: Path) -> None:
    """A plugin that fails is named with its exit code and words; nothing else is printed."""
    version = "client.authentication.k8s.io/v1"
    user = {
        "exec": {
            "apiVersion": version,
            "command": "sh",
            "args": ["-c", "echo no session >&2; exit 7"],
        }
    }
    config = kubeconfig_for(testbed_cluster, tmp_path, user)
    program = (
        "import sys; from pytest_containerpolicy.targets.uri import Timeouts, parse_target\n"
        "try: parse_target(sys.argv[1]).read(Timeouts())\n"
        "except Exception as error: print(error)"
    )
    printed = run(sys.executable, "-c", program, f"k8s://?kubeconfig={config}")
    assert (
        "k8s:lab: credential plugin 'sh' failed: exec: process returned 7. no session\n" == printed
    )
