"""`manifests:PATH` has kustomizations and charts rendered by the real kubectl and helm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import Unreachable
from tests.manifest_files import SERVICE, read_manifests, write_manifests
from tests.testbed import binary


@pytest.fixture(autouse=True)
def pinned_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubectl and helm that are built from pinned modules, whatever the machine has."""
    folders = [str(binary(name).parent) for name in ("kubectl", "helm")]
    monkeypatch.setenv("PATH", os.pathsep.join([*folders, os.environ["PATH"]]))


KUSTOMIZATION = "resources: [web.yaml]\nnamespace: shop\nnamePrefix: my-\n"


def test_a_kustomization_is_rendered(tmp_path: Path) -> None:
    """What counts is what kubectl makes of it; the finding's place is the kustomization."""
    folder = write_manifests(tmp_path, web=SERVICE, kustomization=KUSTOMIZATION)

    (found,) = read_manifests(folder).documents("services")

    assert ("my-web", "shop") == (found.metadata.name, found.metadata.namespace)
    assert (f"{folder}/kustomization.yaml", 0) == (found.origin.file, found.origin.line)


def test_a_broken_kustomization_says_why(tmp_path: Path) -> None:
    """In one line, with what kubectl said."""
    folder = write_manifests(tmp_path, kustomization="resources: [absent.yaml]\n")

    with pytest.raises(Unreachable) as caught:
        read_manifests(folder)

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


def test_a_chart_is_rendered(tmp_path: Path) -> None:
    """With its subcharts and without its tests; a finding's place is the template."""
    folder = tmp_path / "My_Chart"
    for name, content in CHART.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    inventory = read_manifests(folder)

    found = {
        s.metadata.name: (s.origin.file, s.origin.line) for s in inventory.documents("services")
    }
    expected = {
        "my-chart-web": (f"{folder}/templates/web.yaml", 0),
        "db": (f"{folder}/charts/db/templates/db.yaml", 0),
    }
    assert expected == found
    assert ["services"] == inventory.kinds
