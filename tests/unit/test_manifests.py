"""`manifests:PATH` reads what files declare, and never mistakes what it can't read for nothing."""

from __future__ import annotations

import io
import shutil
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_containerpolicy.errors import TargetError, Unreachable
from pytest_containerpolicy.targets.inventory import EVERY_KIND, Inventory, Unreadable
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"
NEEDS_KUBECTL = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not on PATH")


def _read(path: object) -> Inventory:
    return parse_target(f"manifests:{path}").read(Timeouts())


def _folder(tmp_path: Path, **files: str) -> Path:
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    return tmp_path


def _unreadable(folder: Path, content: str) -> Unreadable:
    """What is unreadable of a file beside a good one."""
    inventory = _read(_folder(folder, bad=content, good=SERVICE))
    assert len(inventory.documents("services")) == 1
    (gap,) = inventory.header.unreadable
    return gap


def test_a_folder_is_read_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    """Subfolders, *.yaml, *.yml and *.json; no hidden folder, no other file."""
    for name in ("b/two.yml", "a.yaml", "c.json", ".git/no.yaml", "notes.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(SERVICE.replace("web", file.stem))
    (tmp_path / "c.json").write_text('{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}')

    inventory = _read(tmp_path)

    found = [(s.metadata.name, s.origin.file) for s in inventory.documents("services")]
    expected = [("a", "a.yaml"), ("c", "c.json"), ("two", "b/two.yml")]
    assert [(name, str(tmp_path / file)) for name, file in expected] == found
    assert not inventory.header.live


def test_each_object_knows_its_file_and_line(tmp_path: Path) -> None:
    """Documents of one file and items of a list stand where they begin."""
    items = "".join(
        f"- {{apiVersion: v1, kind: Service, metadata: {{name: s{i}}}}}\n" for i in "12"
    )
    folder = _folder(tmp_path, all=f"{SERVICE}---\napiVersion: v1\nkind: List\nitems:\n{items}")

    found = _read(folder / "all.yaml").documents("services")

    assert [("web", 1), ("s1", 9), ("s2", 10)] == [(s.metadata.name, s.origin.line) for s in found]


def test_a_typed_list_gives_kind_and_version_to_its_items(tmp_path: Path) -> None:
    """The API leaves them out of the items of a ServiceList."""
    text = "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: web}\n"

    (found,) = _read(_folder(tmp_path, all=text)).documents("services")

    assert found.metadata.name == "web"


def test_namespaces_are_those_that_the_api_would_give(tmp_path: Path) -> None:
    """`default` where none is written or null, none for what has no namespace."""
    texts = [
        "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop}}",
        "{apiVersion: v1, kind: Service, metadata: {name: b}}",
        "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: }}",
        "{apiVersion: v1, kind: Namespace, metadata: {name: d, namespace: odd}}",
    ]

    inventory = _read(_folder(tmp_path, all="\n---\n".join(texts)))

    services = [service.metadata.namespace for service in inventory.documents("services")]
    assert ["shop", "default", "default"] == services
    assert inventory.documents("namespaces")[0].metadata.namespace == ""


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`manifests:-` reads what is piped in."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(SERVICE.encode())))

    (found,) = _read("-").documents("services")

    assert ("<stdin>", 1) == (found.origin.file, found.origin.line)


def test_a_syntax_error_may_hide_any_kind(tmp_path: Path) -> None:
    """Nobody knows what was in the file, the others are still read."""
    gap = _unreadable(tmp_path, "a: [1\n")

    assert EVERY_KIND == gap.kind
    assert gap.reason.startswith(f"{tmp_path}/bad.yaml:2: did not find expected ',' or ']'")


def test_a_helm_template_is_recognised(tmp_path: Path) -> None:
    """Its braces are no YAML; the error says what to give instead."""
    gap = _unreadable(tmp_path, "{{- if .Values.x }}\na: b\n{{- end }}\n")

    assert gap.reason.endswith("a Helm template? Give the chart's folder, the one with Chart.yaml")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ('{replicas: "3"}', "spec.replicas: expected int, found '3'"),
        ("{replicas: true}", "spec.replicas: expected int, found True"),
        ("{template: []}", "spec.template: expected object, found a list"),
        (
            "{template: {spec: {containers: [{image: a}]}}}",
            "spec.template.spec.containers[0]: Object missing required field `name`",
        ),
        (
            "{selector: {matchLabels: {app: 1}}}",
            "spec.selector.matchLabels: expected str as values",
        ),
    ],
)
def test_odd_types_are_a_gap_of_their_kind(tmp_path: Path, spec: str, expected: str) -> None:
    """The object is not judged as if the field were absent, and everything else is judged."""
    head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n"

    gap = _unreadable(tmp_path, f"{head}spec: {spec}\n")

    assert Unreadable("deployments", f"{tmp_path}/bad.yaml:4: {expected}", "shop") == gap


def test_a_null_is_the_same_as_nothing(tmp_path: Path) -> None:
    """The API server takes an explicit null, as templates render it, for an absent field."""
    text = "{apiVersion: v1, kind: Service, metadata: {name: a, labels: }, spec: {ports: , type: }}"

    (found,) = _read(_folder(tmp_path, all=text)).documents("services")

    assert found.spec.ports is None


def test_an_object_without_a_name_is_a_gap(tmp_path: Path) -> None:
    """The API server would refuse it."""
    gap = _unreadable(tmp_path, "apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {a: b}\n")

    assert f"{tmp_path}/bad.yaml:3: metadata.name is missing" == gap.reason


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [
        ("policy/v1beta1", "PodDisruptionBudget", "write policy/v1"),
        ("extensions/v1beta1", "Ingress", "write networking.k8s.io/v1"),
        ("apps/v1beta2", "Deployment", "write apps/v1"),
    ],
)
def test_versions_of_the_past_are_gaps(
    tmp_path: Path, version: str, kind: str, expected: str
) -> None:
    """A cluster of today refuses them, and their fields meant other things."""
    gap = _unreadable(tmp_path, f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}}}")

    expected = f"apiVersion {version} of {kind} is not served any more: {expected}"
    assert f"{tmp_path}/bad.yaml:1: {expected}" == gap.reason


def test_a_misspelt_kind_is_a_gap(tmp_path: Path) -> None:
    """Otherwise its object would not be judged, and nobody would know."""
    gap = _unreadable(tmp_path, "{apiVersion: apps/v1, kind: Deploymnt, metadata: {name: a}}")

    expected = "apps/v1 has no kind 'Deploymnt'; did you mean 'Deployment'?"
    assert Unreadable(EVERY_KIND, f"{tmp_path}/bad.yaml:1: {expected}") == gap


def test_other_versions_with_the_same_meaning_are_read(tmp_path: Path) -> None:
    """autoscaling/v1 and the Gateway API's v1beta1 are still served."""
    texts = [
        "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: a}}",
        "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: HTTPRoute, metadata: {name: a}}",
    ]

    inventory = _read(_folder(tmp_path, all="\n---\n".join(texts)))

    assert ["horizontalpodautoscalers", "httproutes"] == inventory.kinds
    assert () == inventory.header.unreadable


def test_foreign_documents_and_kinds_are_noted(tmp_path: Path) -> None:
    """Values files and custom resources are no errors, and are not passed over in silence."""
    kinds = ("v1, kind: ConfigMap", "v1, kind: ConfigMap", "serving.knative.dev/v1, kind: Service")
    others = "\n---\n".join(f"{{apiVersion: {kind}, metadata: {{name: a}}}}" for kind in kinds)
    folder = _folder(tmp_path, all=SERVICE, others=others, values="replicas: 1\n---\n- 1\n")

    notes = _read(folder).header.notes

    assert (
        f"not Kubernetes objects (2): {folder}/values.yaml:1, {folder}/values.yaml:3",
        "kinds that no policy reads: ConfigMap (2), Service.serving.knative.dev (1)",
    ) == notes


def test_of_objects_declared_twice_the_last_one_wins(tmp_path: Path) -> None:
    """As with kubectl apply; both places are noted."""
    folder = _folder(tmp_path, a=SERVICE, b=SERVICE.replace("80", "81"))

    inventory = _read(folder)

    (found,) = inventory.documents("services")
    assert found.spec.ports[0].port == 81
    expected = f"{folder}/b.yaml:1 wins over {folder}/a.yaml:1"
    assert (f"Service default/web is declared twice, {expected}",) == inventory.header.notes


def test_a_kind_that_claims_an_origin_has_none(tmp_path: Path) -> None:
    """Where an object stands is ours to say, not the file's."""
    text = SERVICE + "$origin: {file: /etc/passwd, line: 7}\norigin: true\n"

    (found,) = _read(_folder(tmp_path, all=text)).documents("services")

    assert (str(tmp_path / "all.yaml"), 1) == (found.origin.file, found.origin.line)


def test_secrets_and_commands_do_not_enter(tmp_path: Path) -> None:
    """Environment values, commands and probe commands are dropped while reading."""
    text = """\
apiVersion: v1
kind: Pod
metadata: {name: a, annotations: {token: hidden}}
spec:
  containers:
  - name: a
    command: [run, hidden]
    env: [{name: PASSWORD, value: hidden}]
    livenessProbe: {exec: {command: [check, hidden]}}
    lifecycle: {preStop: {exec: {command: [sh, -c, sleep 5]}}}
"""
    written = _read(_folder(tmp_path, all=text)).to_bytes()

    assert b"hidden" not in written
    (pod,) = Inventory.from_bytes(written, "test").documents("pods")
    assert 5 == pod.spec.containers[0].lifecycle.pre_stop.exec.sleep_seconds


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "{folder}: holds no Kubernetes object (looked into 0 *.yaml, *.yml, *.json)"),
        ("", "{folder}: holds no Kubernetes object (looked into 1 *.yaml, *.yml, *.json)"),
        ("a: 1", "{folder}: holds no Kubernetes object, only {folder}/f.yaml:1"),
        ("a: b: c", "{folder}/f.yaml:1: mapping values are not allowed in this context"),
        ("\0\1", "{folder}/f.yaml: not text: byte 0: control characters are not allowed"),
    ],
)
def test_nothing_to_judge_is_an_error(tmp_path: Path, content: str | None, expected: str) -> None:
    """An empty folder, or one without any object, is not a pass."""
    if content is not None:
        (tmp_path / "f.yaml").write_text(content)

    with pytest.raises(Unreachable) as caught:
        _read(tmp_path)

    assert expected.format(folder=tmp_path) == str(caught.value)


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    """One line, with the path as written."""
    with pytest.raises(Unreachable, match=r"nowhere: no such file or folder$"):
        _read(tmp_path / "nowhere")


def test_an_unreadable_file_may_hide_any_kind(tmp_path: Path) -> None:
    """A folder by the name of a manifest can't be read by anybody, not even by root."""
    _folder(tmp_path, good=SERVICE)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")

    (gap,) = _read(tmp_path).header.unreadable

    assert EVERY_KIND == gap.kind
    assert f"{tmp_path}/loop.yaml: Too many levels of symbolic links" == gap.reason


def test_ids_are_the_path_as_written() -> None:
    """Without the last slash, and without what separates the parts of a test's id."""
    targets = [parse_target(f"manifests:{path}") for path in ("deploy/", "/", "-", "a::b")]

    expected = ["manifests:deploy", "manifests:/", "manifests:-", "manifests:a:b"]
    assert expected == [target.id for target in targets]


@pytest.mark.parametrize("uri", ["manifests:", "manifests://deploy"])
def test_other_forms_are_refused(uri: str) -> None:
    """A manifests target is a path."""
    with pytest.raises(TargetError, match="write manifests:PATH"):
        parse_target(uri)


KUSTOMIZATION = "resources: [web.yaml]\nnamespace: shop\nnamePrefix: my-\n"


@NEEDS_KUBECTL
def test_a_kustomization_is_rendered(tmp_path: Path) -> None:
    """What counts is what kubectl makes of it; the finding's place is the kustomization."""
    folder = _folder(tmp_path, web=SERVICE, kustomization=KUSTOMIZATION)

    (found,) = _read(folder).documents("services")

    assert ("my-web", "shop") == (found.metadata.name, found.metadata.namespace)
    assert (f"{folder}/kustomization.yaml", 0) == (found.origin.file, found.origin.line)


@NEEDS_KUBECTL
def test_a_broken_kustomization_says_why(tmp_path: Path) -> None:
    """In one line, with what kubectl said."""
    folder = _folder(tmp_path, kustomization="resources: [absent.yaml]\n")

    with pytest.raises(Unreachable) as caught:
        _read(folder)

    assert f"`kubectl kustomize {folder}` failed: " in str(caught.value)
    assert "absent.yaml" in str(caught.value)


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
    "values.yaml": "port: 8080\n",
    "templates/web.yaml": SERVICE.replace("web", "{{ .Release.Name }}-web").replace(
        "80", "{{ .Values.port }}"
    ),
    "templates/tests/web.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: test\n"
    "  annotations: {helm.sh/hook: test}\nspec: {containers: [{name: a, image: a}]}\n",
    "charts/db/Chart.yaml": "apiVersion: v2\nname: db\nversion: 1.0.0\n",
    "charts/db/templates/db.yaml": SERVICE.replace("web", "db"),
}


@pytest.mark.skipif(not shutil.which("helm"), reason="helm is not on PATH")
def test_a_chart_is_rendered(tmp_path: Path) -> None:
    """With its subcharts and without its tests; a finding's place is the template."""
    folder = tmp_path / "My_Chart"
    for name, content in CHART.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    inventory = _read(folder)

    found = {
        s.metadata.name: (s.origin.file, s.origin.line) for s in inventory.documents("services")
    }
    expected = {
        "my-chart-web": (f"{folder}/templates/web.yaml", 0),
        "db": (f"{folder}/charts/db/templates/db.yaml", 0),
    }
    assert expected == found
    assert ["services"] == inventory.kinds


def test_a_kustomization_inside_a_folder_is_a_gap(tmp_path: Path) -> None:
    """Its bases and patches are not what is deployed, so they are not judged one by one."""
    overlay = tmp_path / "overlays"
    overlay.mkdir()
    _folder(overlay, web=SERVICE.replace("web", "patch"), kustomization=KUSTOMIZATION)

    inventory = _read(_folder(tmp_path, good=SERVICE))

    assert ["web"] == [service.metadata.name for service in inventory.documents("services")]
    expected = f"{overlay} is a kustomization: judge it as target manifests:{overlay}"
    assert (Unreadable(EVERY_KIND, expected),) == inventory.header.unreadable


@pytest.mark.parametrize(
    ("name", "program", "command"),
    [
        ("Chart", "helm", "helm template --skip-tests chart {folder}"),
        ("kustomization", "kubectl", "kubectl kustomize {folder}"),
    ],
)
def test_a_missing_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, program: str, command: str
) -> None:
    """The command that would be needed, and another way to the same."""
    folder = tmp_path / "chart"
    folder.mkdir()
    _folder(folder, **{name: "name: x\n"})
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unreachable) as caught:
        _read(folder)

    expected = "is not on PATH: install it, or give its output as manifests:-"
    assert f"`{command.format(folder=folder)}`: {program} {expected}" == str(caught.value)


def _program(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)


def test_a_program_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remote base that never answers does not stop the run."""
    _program(tmp_path, "kubectl", "exec /bin/sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = _folder(tmp_path, kustomization="resources: []\n")

    with pytest.raises(Unreachable) as caught:
        parse_target(f"manifests:{folder}").read(Timeouts(read=0.2))

    assert f"`kubectl kustomize {folder}`: no answer within 0.2 s" == str(caught.value)
