"""The model of Kubernetes objects: API defaults, ownership, and what can't be known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_containerpolicy.model.cluster import Autoscaler, LimitRange, Node, Quota
from pytest_containerpolicy.model.container import Container, PreStop, Probe
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import NetworkPolicy, Route, Service
from pytest_containerpolicy.model.volume import Claim, StorageClass
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Unreadable
from tests.kubernetes_values import model_of, objects_of, values_of

RECORDED = Path(__file__).parent / "recorded" / "kubernetes"


@pytest.fixture(scope="module")
def everything() -> Model:
    """One object of each kind, and workloads of every sort."""
    return model_of(objects_of(RECORDED / "everything.yaml"), live=False)


def _model(text: str, *, live: bool = False) -> Model:
    return model_of(yaml.safe_load_all(text), live=live)


def _workload(model: Model, name: str) -> Workload:
    return next(workload for workload in model.all(Workload) if workload.name == name)


def _container(model: Model, name: str) -> Container:
    return next(container for container in model.all(Container) if container.name == name)


def test_a_manifest_and_the_servers_answer_are_equal(everything: Model) -> None:
    """The recorded answer of an API server holds its defaults; the manifest gets ours."""
    answered = model_of(objects_of(RECORDED / "everything.json"), live=True)

    assert values_of(answered) == values_of(everything)


def test_workloads_are_what_nothing_else_controls(everything: Model) -> None:
    """Every kind of controller, and the pod that has none."""
    expected = {
        "Deployment": 3,
        "StatefulSet": 2,
        "DaemonSet": 1,
        "Job": 1,
        "CronJob": 1,
        "Pod": 1,
    }
    kinds = [workload.kind for workload in everything.all(Workload)]

    assert expected == {kind: kinds.count(kind) for kind in expected}
    assert [w.name for w in everything.all(Workload) if not w.controlled] == ["lonely"]
    finite = [w.name for w in everything.all(Workload) if w.runs_to_completion]
    assert ["nightly", "import"] == finite


def test_containers_have_roles_and_paths(everything: Model) -> None:
    """Init containers that restart always are sidecars; paths lead to the container."""
    pod = "spec.template.spec"
    expected = [
        ("migrate", "init", f"{pod}.initContainers[0]"),
        ("proxy", "sidecar", f"{pod}.initContainers[1]"),
        ("web", "main", f"{pod}.containers[0]"),
        ("helper", "main", f"{pod}.containers[1]"),
    ]

    assert expected == [(c.name, c.role, c.path) for c in _workload(everything, "web").containers]


def test_injected_proxies_are_sidecars() -> None:
    """A mesh puts its proxy among the ordinary containers."""
    model = _model(POD.format(spec="containers: [{name: app}, {name: istio-proxy}]"))

    assert ["main", "sidecar"] == [container.role for container in model.all(Container)]


def test_resources_are_bytes_and_cores(everything: Model) -> None:
    """What is not declared comes from the limit, then from the namespace's LimitRange."""
    web, migrate = _container(everything, "web"), _container(everything, "migrate")

    assert (2**29, 2**29) == (web.memory_limit, web.memory_request)
    assert (1.5, 0.25, 10**9) == (web.cpu_limit, web.cpu_request, web.writable_layer_limit)
    assert (2**26, 2**26) == (migrate.memory_limit, migrate.memory_request)
    assert (4, 4) == (migrate.cpu_limit, migrate.cpu_request)
    assert 2**28 == _container(everything, "helper").memory_limit


def test_a_limit_of_the_pod_bounds_its_containers() -> None:
    """Pod-level resources; a limit of zero is none."""
    spec = """
      resources: {limits: {memory: 1Gi, cpu: "2"}}
      containers:
      - {name: a}
      - {name: b, resources: {limits: {memory: 64Mi, cpu: "0"}}}
    """
    first, second = _model(POD.format(spec=spec)).all(Container)

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
        _model(f"{ranges % namespace}\n---\n{pod}", live=live).all(Container)[0].memory_limit
        for namespace, live in (("shop", False), ("other", False), ("shop", True))
    ]

    assert [2**30, None, None] == found


def test_probes_have_the_apis_defaults(everything: Model) -> None:
    """Period 10, timeout 1, thresholds 3 and 1, path /; zero is the same as nothing."""
    web, helper = _container(everything, "web"), _container(everything, "helper")

    assert Probe(handler="http", port="http", http_path="/", initial_delay=5) == web.readiness
    assert Probe(handler="http", port=8080, http_path="/live", timeout=3) == web.liveness
    assert Probe(handler="grpc", port=9000) == helper.readiness
    assert Probe(handler="exec") == helper.liveness
    startup = Probe(handler="tcp", port=15020, failure_threshold=30, period=2)
    assert startup == _container(everything, "proxy").startup


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

    assert expected == _model(POD.format(spec=spec)).all(Container)[0].pre_stop


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
    volumes = {volume.name: volume for volume in _workload(everything, "web").volumes}

    assert expected == {name: (v.kind, v.lifetime) for name, v in volumes.items()}
    assert (2**26, True) == (volumes["cache"].size_limit, volumes["cache"].in_memory)
    assert ("/var/log", "web-data") == (volumes["host"].host_path, volumes["data"].claim_name)


def test_claims_come_from_the_cluster_or_from_templates(everything: Model) -> None:
    """A claim by name, and a StatefulSet's template that makes one for each pod."""
    ((_, claim),) = _workload(everything, "web").claims
    ((volume, template),) = _workload(everything, "db").claims

    assert (("ReadWriteMany",), 1610612736) == (claim.access_modes, claim.request)
    assert (True, "spec.volumeClaimTemplates[0]") == (template.is_template, template.path)
    assert (volume.name, template.on_one_node) == ("data", True)
    assert everything.get(Claim, "db", "shop") is None
    assert "fast" == everything.all(StorageClass)[0].ref.name


ROLLOUTS = [
    ("Deployment", 4, "", ("RollingUpdate", "start-first", 1, 1)),
    ("Deployment", 1, "", ("RollingUpdate", "start-first", 0, 1)),
    ("Deployment", 10, "{rollingUpdate: {maxSurge: 0}}", ("RollingUpdate", "stop-first", 2, 0)),
    (
        "Deployment",
        3,
        "{rollingUpdate: {maxSurge: 0, maxUnavailable: 10%}}",
        ("RollingUpdate", "stop-first", 1, 0),
    ),
    (
        "Deployment",
        3,
        "{rollingUpdate: {maxSurge: 1%, maxUnavailable: 99%}}",
        ("RollingUpdate", "start-first", 2, 1),
    ),
    ("Deployment", 5, "{type: Recreate}", ("Recreate", "stop-first", 5, 0)),
    ("StatefulSet", 5, "", ("RollingUpdate", "stop-first", 1, 0)),
    (
        "StatefulSet",
        5,
        "{rollingUpdate: {maxUnavailable: 50%}}",
        ("RollingUpdate", "stop-first", 2, 0),
    ),
    (
        "StatefulSet",
        5,
        "{rollingUpdate: {maxUnavailable: 1%}}",
        ("RollingUpdate", "stop-first", 1, 0),
    ),
    ("StatefulSet", 5, "{type: OnDelete}", ("OnDelete", "manual", 0, 0)),
    ("DaemonSet", 1, "", ("RollingUpdate", "stop-first", 1, 0)),
    (
        "DaemonSet",
        1,
        "{rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}",
        ("RollingUpdate", "start-first", 0, 1),
    ),
    ("Rollout", 4, "", ("Canary", "start-first", 1, 1)),
    ("Rollout", 4, "{canary: {maxSurge: 0}}", ("Canary", "stop-first", 1, 0)),
    ("Rollout", 4, "{blueGreen: {}}", ("BlueGreen", "start-first", 0, 4)),
]


@pytest.mark.parametrize(("kind", "replicas", "strategy", "expected"), ROLLOUTS)
def test_rollouts_are_counts_of_pods(
    kind: str, replicas: int, strategy: str, expected: tuple[Any, ...]
) -> None:
    """Unavailable rounds down and surge up; where nothing could move, one pod does."""
    field = "strategy" if kind in ("Deployment", "Rollout") else "updateStrategy"
    spec = f"replicas: {replicas}, {field}: {strategy or '{}'}"
    rollout = _model(_controller(kind, spec)).all(Workload)[0].rollout

    assert rollout is not None
    found = (rollout.strategy, rollout.order, rollout.max_unavailable, rollout.max_surge)
    assert expected == found


def test_rollouts_are_counted_from_the_autoscalers_minimum(everything: Model) -> None:
    """Not from the replicas that happen to be declared: 30 % of 10, not of 5."""
    rolled = _workload(everything, "rolled")

    assert rolled.rollout is not None
    assert (10, 3) == (rolled.fewest_replicas, rolled.rollout.max_unavailable)


def test_deadlines_and_settling(everything: Model) -> None:
    """progressDeadlineSeconds is 600 for Deployments and nothing for the others."""
    deadlines = {
        w.name: (w.rollout.progress_deadline, w.rollout.settle)
        for w in everything.all(Workload)
        if w.rollout
    }

    assert ((600, 0), (90, 10), (None, 0)) == (
        deadlines["web"],
        deadlines["recreated"],
        deadlines["db"],
    )


def test_a_rollout_takes_the_template_of_its_deployment() -> None:
    """workloadRef: one workload, with the Rollout's name and the Deployment's containers."""
    reference = "{apiVersion: apps/v1, kind: Deployment, name: web}"
    rollout = (
        "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: r, namespace: shop},"
        f" spec: {{replicas: 2, workloadRef: {reference}}}}}"
    )

    model = _model(f"{_controller('Deployment', 'replicas: 0')}\n---\n{rollout}")

    (found,) = model.all(Workload)
    assert ("Rollout shop/r", 2, {"app": "web"}) == (str(found.ref), found.replicas, found.labels)
    assert ["app"] == [container.name for container in found.containers]


def test_a_rollout_whose_deployment_is_missing_is_a_gap() -> None:
    """Its containers are not known, so nothing about it may pass."""
    rollout = (
        "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: r, namespace: shop},"
        " spec: {workloadRef: {kind: Deployment, name: web}}}"
    )

    expected = "r: spec.workloadRef: Deployment web is not among what was read"
    assert (Unreadable("rollouts", expected, "shop"),) == _model(rollout).header.unreadable


OWNERS = [
    ("ReplicaSet", "{apiVersion: apps/v1, kind: Deployment, name: a, controller: true}", True),
    (
        "ReplicaSet",
        "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: a, controller: true}",
        True,
    ),
    ("ReplicaSet", "{apiVersion: example.com/v1, kind: Fleet, name: a, controller: true}", False),
    (
        "ReplicaSet",
        "{apiVersion: example.com/v1, kind: Deployment, name: a, controller: true}",
        False,
    ),
    ("ReplicaSet", "{apiVersion: apps/v1, kind: Deployment, name: a}", False),
    ("Pod", "{apiVersion: apps/v1, kind: ReplicaSet, name: a, controller: true}", True),
    ("Pod", "{apiVersion: batch/v1, kind: Job, name: a, controller: true}", True),
    ("Pod", "{apiVersion: v1, kind: Node, name: a, controller: true}", False),
]


@pytest.mark.parametrize(("kind", "owner", "owned"), OWNERS)
def test_what_a_workload_controls_is_none_itself(kind: str, owner: str, owned: bool) -> None:
    """Controllers of unknown kinds are not in the model, so what they keep stays in it."""
    text = _controller(kind, "") if kind != "Pod" else POD.format(spec="containers: [{name: a}]")
    text = text.replace("namespace: shop", f"namespace: shop, ownerReferences: [{owner}]")

    assert (not owned) == bool(_model(text, live=True).all(Workload))


def test_a_static_pod_is_kept_by_its_node() -> None:
    """The kubelet restarts it, and it can't run anywhere else."""
    owner = "{apiVersion: v1, kind: Node, name: node1, controller: true}"
    text = POD.format(spec="nodeName: node1\n  containers: [{name: a}]").replace(
        "namespace: shop", f"namespace: shop, ownerReferences: [{owner}]"
    )
    (pod,) = _model(text, live=True).all(Workload)

    assert (True, "node1") == (pod.controlled, pod.placement.node_name)


@pytest.mark.parametrize(("live", "expected"), [(False, "node1"), (True, "")])
def test_the_schedulers_choice_is_no_wish(live: bool, expected: str) -> None:
    """In a file nodeName pins the pod; of a running pod it only says where it landed."""
    text = POD.format(spec="nodeName: node1\n  containers: [{name: a}]")

    assert expected == _model(text, live=live).all(Workload)[0].placement.node_name


NODES = """\
apiVersion: v1
kind: Node
metadata: {name: plain, labels: {disk: ssd}}
status:
  conditions: [{type: Ready, status: "True"}]
  allocatable: {cpu: 1930m, memory: 4Gi, pods: "110"}
---
apiVersion: v1
kind: Node
metadata: {name: cordoned, labels: {disk: ssd}}
spec:
  unschedulable: true
  taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]
---
apiVersion: v1
kind: Node
metadata: {name: tainted, labels: {disk: ssd}}
spec: {taints: [{key: gpu, effect: NoSchedule}]}
---
apiVersion: v1
kind: Node
metadata: {name: other}
"""


def test_a_daemon_runs_on_every_node_that_suits_it() -> None:
    """Cordoned nodes too, tainted ones if tolerated; unknown where no nodes are known."""
    plain = _controller("DaemonSet", "")
    picky = plain.replace("containers:", "nodeSelector: {disk: ssd}, containers:")
    bold = plain.replace("containers:", "tolerations: [{operator: Exists}], containers:")

    counts = [_model(f"{NODES}---\n{d}").all(Workload)[0].replicas for d in (plain, picky, bold)]

    assert [3, 2, 4] == counts
    assert _model(plain).all(Workload)[0].replicas is None


def test_nodes_have_what_they_can_allocate() -> None:
    """Cores, bytes, pods, readiness and taints."""
    plain, cordoned, tainted, _ = _model(NODES).all(Node)

    assert (1.93, 4 * 2**30, 110, True) == (plain.cpu, plain.memory, plain.pods, plain.ready)
    assert (False, False) == (cordoned.schedulable, cordoned.ready)
    assert ["gpu"] == [taint.key for taint in tainted.taints]


def test_spread_is_what_keeps_own_copies_apart(everything: Model) -> None:
    """A rule that keeps away from another application's pods is no spread."""
    expected = [
        ("anti-affinity", "kubernetes.io/hostname", True, False),
        ("anti-affinity", "topology.kubernetes.io/zone", False, False),
        ("topology-spread", "topology.kubernetes.io/zone", True, True),
    ]
    spread = _workload(everything, "web").spread

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


def test_services_have_the_apis_defaults(everything: Model) -> None:
    """ClusterIP, target port = port, TCP; no selector means that others manage the endpoints."""
    web, db, elsewhere = everything.all(Service)

    assert [("http", "TCP"), (53, "UDP")] == [(port.target, port.protocol) for port in web.ports]
    assert (True, True, "ClusterIP") == (db.headless, db.publish_not_ready, db.type)
    assert (None, "ExternalName") == (elsewhere.selector, elsewhere.type)
    assert ["web"] == [workload.name for workload in web.workloads]


def test_routes_lead_to_services(everything: Model) -> None:
    """The default backend and each path, by port name or number."""
    (route,) = everything.all(Route)

    assert [("web", "http"), ("web", 80)] == [(b.service, b.port) for b in route.backends]


def test_network_policy_types_are_resolved(everything: Model) -> None:
    """Ingress always, Egress only where there are egress rules."""
    closed, db = everything.all(NetworkPolicy)

    assert (True, False, ()) == (closed.isolates_ingress, closed.isolates_egress, closed.ingress)
    assert (True, True) == (db.isolates_ingress, db.isolates_egress)
    assert (True, False) == (closed.selects({}), db.selects({"app": "web"}))
    assert () == db.egress[0].peers


def test_autoscalers_scale_by_cpu_where_nothing_is_said(everything: Model) -> None:
    """The API server's default metric; minimum 1."""
    web, rolled = everything.all(Autoscaler)

    assert (1, 8, (("cpu", ""),)) == (web.min_replicas, web.max_replicas, web.resource_metrics)
    assert (("memory", ""), ("cpu", "app")) == rolled.resource_metrics


def test_quotas_and_limit_ranges_are_numbers(everything: Model) -> None:
    """In base units, with the fallbacks of LimitRanges resolved."""
    (quota,), (limits,) = everything.all(Quota), everything.all(LimitRange)

    expected = {"requests.cpu": 10, "limits.memory": 20 * 2**30, "pods": 50}
    assert (expected, None, ("NotTerminating",)) == (quota.hard, quota.used, quota.scopes)
    assert {"memory": 2**28, "cpu": 4} == limits.default_limits
    assert {"memory": 2**28, "cpu": 4} == limits.default_requests


def test_every_path_is_a_real_one(everything: Model) -> None:
    """Findings are located by them, in the object as it was written."""
    objects = {
        (item["kind"], item["metadata"]["name"]): item
        for item in objects_of(RECORDED / "everything.yaml")
    }
    paths = [
        (workload.ref, path)
        for workload in everything.all(Workload)
        for path in (
            workload.pod_path,
            *(container.path for container in workload.containers),
            *(volume.path for volume in workload.volumes),
            *(spread.path for spread in workload.spread),
        )
    ]

    assert len(paths) > 30
    assert [] == [
        f"{ref} {path}" for ref, path in paths if not _leads(objects[ref.kind, ref.name], path)
    ]


BAD = [
    ("containers: []", "spec.containers: a pod needs at least one container"),
    (
        "containers: [{name: a, resources: {limits: {memory: 256MB}}}]",
        "spec.containers[0].resources.limits.memory:"
        " '256MB' is not a quantity such as 500m, 1.5, 256Mi or 1G",
    ),
    (
        "containers: [{name: a, volumeMounts: [{name: data, mountPath: /data}]}]",
        "spec.containers[0].volumeMounts[0]: the pod has no volume 'data'",
    ),
    (
        "containers: [{name: a}]\n  volumes: [{name: a, emptyDir: {sizeLimit: x}}]",
        "spec.volumes[0].emptyDir.sizeLimit: 'x' is not a quantity such as 500m, 1.5, 256Mi or 1G",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), BAD)
def test_what_the_api_refuses_is_a_gap(spec: str, expected: str) -> None:
    """The object is not judged by half, and all others are."""
    good = _controller("Deployment", "")

    model = _model(f"{POD.format(spec=spec)}\n---\n{good}")

    assert (Unreadable("pods", f"lonely: {expected}", "shop"),) == model.header.unreadable
    assert ["web"] == [workload.name for workload in model.all(Workload)]


@pytest.mark.parametrize("value", ["'3'", '"25"', "x%", "-5%"])
def test_a_bad_amount_is_a_gap(value: str) -> None:
    """maxUnavailable is a count or a percentage; as text it needs its percent sign."""
    spec = f"strategy: {{rollingUpdate: {{maxUnavailable: {value}}}}}"

    (gap,) = _model(_controller("Deployment", spec)).header.unreadable

    assert gap.reason.startswith("web: spec.strategy.rollingUpdate.maxUnavailable: ")
    assert gap.reason.endswith("is neither a count nor a percentage such as 25%")


def test_unreadable_limit_ranges_are_a_gap_of_containers_only() -> None:
    """A container's limit may come from one; which workloads there are does not."""
    model = _model(_controller("Deployment", ""))
    model.header = type(model.header)(
        target="test", platform="kubernetes", unreadable=(Unreadable("limitranges", "forbidden"),)
    )

    assert (1, 0) == (len(model.gaps(Container)), len(model.gaps(Workload)))


POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: lonely, namespace: shop}}
spec:
  {spec}
"""


def _controller(kind: str, spec: str) -> str:
    version = "argoproj.io/v1alpha1" if kind == "Rollout" else "apps/v1"
    template = "{metadata: {labels: {app: web}}, spec: {containers: [{name: app}]}}"
    fields = f"{spec}, " if spec else ""
    return (
        f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: web, namespace: shop}},"
        f" spec: {{{fields}template: {template}}}}}"
    )


def _leads(item: Any, path: str) -> bool:
    for index, key in re.findall(r"\[(\d+)\]|([^.\[\]]+)", path):
        try:
            item = item[int(index)] if index else item[key]
        except (KeyError, IndexError):
            return False
    return True
