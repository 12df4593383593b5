"""Inventories: written and read back whole, private, and without what must not be kept."""

import stat
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  annotations: {note: s3cret-annotation}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: app
          image: example/web:1
          command: [serve, --password=s3cret-argument]
          env: [{name: TOKEN, value: s3cret-value}]
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: shop}
stringData: {token: s3cret-data}
"""


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot of a manifest."""
    (tmp_path / "web.yaml").write_text(MANIFEST)
    inventory = take_inventory(parse_target(f"manifests:{tmp_path / 'web.yaml'}"), Timeouts())
    inventory.save(tmp_path / "snapshot.json")
    return tmp_path / "snapshot.json"


def test_snapshot_gives_the_same_model(snapshot: Path) -> None:
    """A snapshot replays what was read, and says what it was taken of."""
    inventory = take_inventory(parse_target(f"snapshot:{snapshot}"), Timeouts())
    (workload,) = build_model(inventory).all(Workload)

    assert "Deployment shop/web" == str(workload.ref)
    assert f"snapshot:{snapshot}" == inventory.header.target
    assert inventory.header.notes[0].startswith("taken of manifests:")


def test_snapshot_keeps_no_secret(snapshot: Path) -> None:
    """Environment values, commands, annotations and secret data never reach a file."""
    assert "s3cret" not in snapshot.read_text()


def test_snapshot_is_private(snapshot: Path) -> None:
    """A snapshot is readable by its owner only."""
    assert 0o600 == stat.S_IMODE(snapshot.stat().st_mode)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a containerpolicy snapshot"),
        (b"{}", "not a containerpolicy snapshot"),
        (b'{"header": {"target": "x", "platform": "nomad"}}', "not a containerpolicy"),
        (
            b'{"header": {"format": "containerpolicy-inventory/9", "target": "x",'
            b' "platform": "docker"}, "documents": {}}',
            "snapshot format 'containerpolicy-inventory/9'.*take the snapshot again",
        ),
    ],
)  # fmt: skip
def test_what_is_no_snapshot(content: bytes, message: str) -> None:
    """A file that is no snapshot of this version is refused with its name."""
    with pytest.raises(UsageError, match=message) as caught:
        Inventory.from_bytes(content, "some.json")

    assert str(caught.value).startswith("some.json: ")


def test_damaged_documents(snapshot: Path) -> None:
    """A document that was changed by hand to what can't be gives an error, not a pass."""
    content = snapshot.read_bytes().replace(b'"containers":[', b'"containers":[7,')
    inventory = Inventory.from_bytes(content, "some.json")

    with pytest.raises(UsageError, match="snapshot: deployments: "):
        inventory.documents("deployments")
