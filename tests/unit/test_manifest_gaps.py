"""`manifests:PATH` never mistakes what it can't read for nothing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.targets.inventory import EVERY_KIND, Unreadable
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.manifest_files import SERVICE, read_manifests, write_manifests


def _unreadable(folder: Path, content: str) -> Unreadable:
    """What is unreadable of a file beside a good one."""
    inventory = read_manifests(write_manifests(folder, bad=content, good=SERVICE))
    assert len(inventory.documents("services")) == 1
    (gap,) = inventory.header.unreadable
    return gap


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


def test_an_unreadable_file_may_hide_any_kind(tmp_path: Path) -> None:
    """A folder by the name of a manifest can't be read by anybody, not even by root."""
    write_manifests(tmp_path, good=SERVICE)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")

    (gap,) = read_manifests(tmp_path).header.unreadable

    assert EVERY_KIND == gap.kind
    assert f"{tmp_path}/loop.yaml: Too many levels of symbolic links" == gap.reason


def test_a_kustomization_inside_a_folder_is_a_gap(tmp_path: Path) -> None:
    """Its bases and patches are not what is deployed, so they are not judged one by one."""
    overlay = tmp_path / "overlays"
    overlay.mkdir()
    patch = SERVICE.replace("web", "patch")
    write_manifests(overlay, web=patch, kustomization="resources: [web.yaml]\n")

    inventory = read_manifests(write_manifests(tmp_path, good=SERVICE))

    assert ["web"] == [service.metadata.name for service in inventory.documents("services")]
    expected = f"{overlay} is a kustomization: judge it as target manifests:{overlay}"
    assert (Unreadable(EVERY_KIND, expected),) == inventory.header.unreadable


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
        read_manifests(tmp_path)

    assert expected.format(folder=tmp_path) == str(caught.value)


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    """One line, with the path as written."""
    with pytest.raises(Unreachable, match=r"nowhere: no such file or folder$"):
        read_manifests(tmp_path / "nowhere")


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
    write_manifests(folder, **{name: "name: x\n"})
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unreachable) as caught:
        read_manifests(folder)

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
    folder = write_manifests(tmp_path, kustomization="resources: []\n")

    with pytest.raises(Unreachable) as caught:
        parse_target(f"manifests:{folder}").read(Timeouts(read=0.2))

    assert f"`kubectl kustomize {folder}`: no answer within 0.2 s" == str(caught.value)
