"""Pods of Kubernetes in the model: containers, resources, probes, volumes and placement."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.model.container import Container, PreStop, Probe
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.volume import Claim, StorageClass
from pytest_containerpolicy.model.workload import Workload
from tests.kubernetes_models import POD, container_named, model_of_text, workload_named


def test_containers_have_roles_and_paths(everything: Model) -> None:
    """Init containers that restart always are sidecars; paths lead to the container."""
    pod = "spec.template.spec"
    expected = [
        ("migrate", "init", f"{pod}.initContainers[0]"),
        ("proxy", "sidecar", f"{pod}.initContainers[1]"),
        ("web", "main", f"{pod}.containers[0]"),
        ("helper", "main", f"{pod}.containers[1]"),
    ]

    assert expected == [
        (c.name, c.role, c.path) for c in workload_named(everything, "web").containers
    ]


def test_injected_proxies_are_sidecars() -> None:
    """A mesh puts its proxy among the ordinary containers."""
    model = model_of_text(POD.format(spec="containers: [{name: app}, {name: istio-proxy}]"))

    assert ["main", "sidecar"] == [container.role for container in model.all(Container)]


def test_resources_are_bytes_and_cores(everything: Model) -> None:
    """What is not declared comes from the limit, then from the namespace's LimitRange."""
    web, migrate = container_named(everything, "web"), container_named(everything, "migrate")

    assert (2**29, 2**29) == (web.memory_limit, web.memory_request)
    assert (1.5, 0.25, 10**9) == (web.cpu_limit, web.cpu_request, web.writable_layer_limit)
    assert (2**26, 2**26) == (migrate.memory_limit, migrate.memory_request)
    assert (4, 4) == (migrate.cpu_limit, migrate.cpu_request)
    assert 2**28 == container_named(everything, "helper").memory_limit


def test_a_limit_of_the_pod_bounds_its_containers() -> None:
    """Pod-level resources; a limit of zero is none."""
    spec = """
      resources: {limits: {memory: 1Gi, cpu: "2"}}
      containers:
      - {name: a}
      - {name: b, resources: {limits: {memory: 64Mi, cpu: "0"}}}
    """
    first, second = model_of_text(POD.format(spec=spec)).all(Container)

    assert (2**30, 2, None) == (first.memory_limit, first.cpu_limit, first.memory_request)
    assert (2**26, 2) == (second.memory_limit, second.cpu_limit)


def test_limit_ranges_are_of_their_namespace() -> None:
    """Another namespace's defaults do not count, and no range changes a pod that runs."""
    limits = "[{type: Container, default: {memory: 1Gi}}]"
    ranges = (
        "{apiVersion: v1, kind: LimitRange, metadata: {name: a, namespace: %s},"
        f" spec: {{limits: {limits}}}}}"
    )
    pod = POD.format(spec="containers: [{name: app}]")

    found = [
        model_of_text(f"{ranges % namespace}\n---\n{pod}", live=live).all(Container)[0].memory_limit
        for namespace, live in (("shop", False), ("other", False), ("shop", True))
    ]

    assert [2**30, None, None] == found


def test_probes_have_the_apis_defaults(everything: Model) -> None:
    """Period 10, timeout 1, thresholds 3 and 1, path /; zero is the same as nothing."""
    web, helper = container_named(everything, "web"), container_named(everything, "helper")

    assert Probe(handler="http", port="http", http_path="/", initial_delay=5) == web.readiness
    assert Probe(handler="http", port=8080, http_path="/live", timeout=3) == web.liveness
    assert Probe(handler="grpc", port=9000) == helper.readiness
    assert Probe(handler="exec") == helper.liveness
    startup = Probe(handler="tcp", port=15020, failure_threshold=30, period=2)
    assert startup == container_named(everything, "proxy").startup


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("{sleep: {seconds: 7}}", PreStop("sleep", 7)),
        ("{httpGet: {port: 80}}", PreStop("http")),
        ("{exec: {command: [sleep, '5']}}", PreStop("exec", 5)),
        ("{exec: {command: [/bin/sh, -c, sleep 2.5s]}}", PreStop("exec", 2.5)),
        ("{exec: {command: [sh, -c, sleep 5 && nginx -s quit]}}", PreStop("exec")),
        ("{exec: {command: [drain]}}", PreStop("exec")),
    ],
)
def test_pre_stop_hooks(hook: str, expected: PreStop) -> None:
    """How long a plain sleep takes is known, how long a command takes is not."""
    spec = f"containers: [{{name: app, lifecycle: {{preStop: {hook}}}}}]"

    assert expected == model_of_text(POD.format(spec=spec)).all(Container)[0].pre_stop


def test_volumes_know_what_destroys_them(everything: Model) -> None:
    """One of each source; without a source it is an emptyDir."""
    expected = {
        "data": ("persistentVolumeClaim", "claim"),
        "cache": ("emptyDir", "pod"),
        "scratch": ("emptyDir", "pod"),
        "nothing": ("emptyDir", "pod"),
        "host": ("hostPath", "node"),
        "files": ("nfs", "external"),
        "inline": ("csi", "pod"),
        "settings": ("configMap", "config"),
        "keys": ("secret", "config"),
        "both": ("projected", "config"),
        "labels": ("downwardAPI", "config"),
        "work": ("ephemeral", "pod"),
    }
    volumes = {volume.name: volume for volume in workload_named(everything, "web").volumes}

    assert expected == {name: (v.kind, v.lifetime) for name, v in volumes.items()}
    assert (2**26, True) == (volumes["cache"].size_limit, volumes["cache"].in_memory)
    assert ("/var/log", "web-data") == (volumes["host"].host_path, volumes["data"].claim_name)


def test_claims_come_from_the_cluster_or_from_templates(everything: Model) -> None:
    """A claim by name, and a StatefulSet's template that makes one for each pod."""
    ((_, claim),) = workload_named(everything, "web").claims
    ((volume, template),) = workload_named(everything, "db").claims

    assert (("ReadWriteMany",), 1610612736) == (claim.access_modes, claim.request)
    assert (True, "spec.volumeClaimTemplates[0]") == (template.is_template, template.path)
    assert (volume.name, template.on_one_node) == ("data", True)
    assert everything.get(Claim, "db", "shop") is None
    assert "fast" == everything.all(StorageClass)[0].ref.name


def test_spread_is_what_keeps_own_copies_apart(everything: Model) -> None:
    """A rule that keeps away from another application's pods is no spread."""
    expected = [
        ("anti-affinity", "kubernetes.io/hostname", True, False),
        ("anti-affinity", "topology.kubernetes.io/zone", False, False),
        ("topology-spread", "topology.kubernetes.io/zone", True, True),
    ]
    spread = workload_named(everything, "web").spread

    assert expected == [(s.kind, s.topology_key, s.required, s.per_revision) for s in spread]


def test_ports_of_the_host_are_published(everything: Model) -> None:
    """hostPort, and every container port on the host's network."""
    ports = {
        w.name: [(p.number, p.address, p.protocol) for p in w.published_ports]
        for w in everything.all(Workload)
        if w.published_ports
    }

    expected = {
        "web": [(9090, "127.0.0.1", "UDP")],
        "agent": [(9100, "", "TCP")],
        "lonely": [(7070, "", "TCP")],
    }
    assert expected == ports


def test_a_static_pod_is_kept_by_its_node() -> None:
    """The kubelet restarts it, and it can't run anywhere else."""
    owner = "{apiVersion: v1, kind: Node, name: node1, controller: true}"
    text = POD.format(spec="nodeName: node1\n  containers: [{name: a}]").replace(
        "namespace: shop", f"namespace: shop, ownerReferences: [{owner}]"
    )
    (pod,) = model_of_text(text, live=True).all(Workload)

    assert (True, "node1") == (pod.controlled, pod.placement.node_name)


@pytest.mark.parametrize(("live", "expected"), [(False, "node1"), (True, "")])
def test_the_schedulers_choice_is_no_wish(live: bool, expected: str) -> None:
    """In a file nodeName pins the pod; of a running pod it only says where it landed."""
    text = POD.format(spec="nodeName: node1\n  containers: [{name: a}]")

    assert expected == model_of_text(text, live=live).all(Workload)[0].placement.node_name
