"""`manifests:PATH` reads what files declare."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import parse_target
from tests.manifest_files import SERVICE, read_manifests, write_manifests


def test_a_folder_is_read_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    """Subfolders, *.yaml, *.yml and *.json; no hidden folder, no other file."""
    for name in ("b/two.yml", "a.yaml", "c.json", ".git/no.yaml", "notes.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(SERVICE.replace("web", file.stem))
    (tmp_path / "c.json").write_text('{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}')

    inventory = read_manifests(tmp_path)

    found = [(s.metadata.name, s.origin.file) for s in inventory.documents("services")]
    expected = [("a", "a.yaml"), ("c", "c.json"), ("two", "b/two.yml")]
    assert [(name, str(tmp_path / file)) for name, file in expected] == found
    assert not inventory.header.live


def test_each_object_knows_its_file_and_line(tmp_path: Path) -> None:
    """Documents of one file and items of a list stand where they begin."""
    items = "".join(
        f"- {{apiVersion: v1, kind: Service, metadata: {{name: s{i}}}}}\n" for i in "12"
    )
    folder = write_manifests(
        tmp_path, all=f"{SERVICE}---\napiVersion: v1\nkind: List\nitems:\n{items}"
    )

    found = read_manifests(folder / "all.yaml").documents("services")

    assert [("web", 1), ("s1", 9), ("s2", 10)] == [(s.metadata.name, s.origin.line) for s in found]


def test_a_typed_list_gives_kind_and_version_to_its_items(tmp_path: Path) -> None:
    """The API leaves them out of the items of a ServiceList."""
    text = "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: web}\n"

    (found,) = read_manifests(write_manifests(tmp_path, all=text)).documents("services")

    assert found.metadata.name == "web"


def test_namespaces_are_those_that_the_api_would_give(tmp_path: Path) -> None:
    """`default` where none is written or null, none for what has no namespace."""
    texts = [
        "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop}}",
        "{apiVersion: v1, kind: Service, metadata: {name: b}}",
        "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: }}",
        "{apiVersion: v1, kind: Namespace, metadata: {name: d, namespace: odd}}",
    ]

    inventory = read_manifests(write_manifests(tmp_path, all="\n---\n".join(texts)))

    services = [service.metadata.namespace for service in inventory.documents("services")]
    assert ["shop", "default", "default"] == services
    assert inventory.documents("namespaces")[0].metadata.namespace == ""


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`manifests:-` reads what is piped in."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(SERVICE.encode())))

    (found,) = read_manifests("-").documents("services")

    assert ("<stdin>", 1) == (found.origin.file, found.origin.line)


def test_a_null_is_the_same_as_nothing(tmp_path: Path) -> None:
    """The API server takes an explicit null, as templates render it, for an absent field."""
    text = "{apiVersion: v1, kind: Service, metadata: {name: a, labels: }, spec: {ports: , type: }}"

    (found,) = read_manifests(write_manifests(tmp_path, all=text)).documents("services")

    assert found.spec.ports is None


def test_other_versions_with_the_same_meaning_are_read(tmp_path: Path) -> None:
    """autoscaling/v1 and the Gateway API's v1beta1 are still served."""
    texts = [
        "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: a}}",
        "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: HTTPRoute, metadata: {name: a}}",
    ]

    inventory = read_manifests(write_manifests(tmp_path, all="\n---\n".join(texts)))

    assert ["horizontalpodautoscalers", "httproutes"] == inventory.kinds
    assert () == inventory.header.unreadable


def test_foreign_documents_and_kinds_are_noted(tmp_path: Path) -> None:
    """Values files and custom resources are no errors, and are not passed over in silence."""
    kinds = ("v1, kind: ConfigMap", "v1, kind: ConfigMap", "serving.knative.dev/v1, kind: Service")
    others = "\n---\n".join(f"{{apiVersion: {kind}, metadata: {{name: a}}}}" for kind in kinds)
    folder = write_manifests(tmp_path, all=SERVICE, others=others, values="replicas: 1\n---\n- 1\n")

    notes = read_manifests(folder).header.notes

    assert (
        f"not Kubernetes objects (2): {folder}/values.yaml:1, {folder}/values.yaml:3",
        "kinds that no policy reads: ConfigMap (2), Service.serving.knative.dev (1)",
    ) == notes


def test_of_objects_declared_twice_the_last_one_wins(tmp_path: Path) -> None:
    """As with kubectl apply; both places are noted."""
    folder = write_manifests(tmp_path, a=SERVICE, b=SERVICE.replace("80", "81"))

    inventory = read_manifests(folder)

    (found,) = inventory.documents("services")
    assert found.spec.ports[0].port == 81
    expected = f"{folder}/b.yaml:1 wins over {folder}/a.yaml:1"
    assert (f"Service default/web is declared twice, {expected}",) == inventory.header.notes


def test_a_kind_that_claims_an_origin_has_none(tmp_path: Path) -> None:
    """Where an object stands is ours to say, not the file's."""
    text = SERVICE + "$origin: {file: /etc/passwd, line: 7}\norigin: true\n"

    (found,) = read_manifests(write_manifests(tmp_path, all=text)).documents("services")

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
    written = read_manifests(write_manifests(tmp_path, all=text)).to_bytes()

    assert b"hidden" not in written
    (pod,) = Inventory.from_bytes(written, "test").documents("pods")
    assert 5 == pod.spec.containers[0].lifecycle.pre_stop.exec.sleep_seconds


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
