"""Recorded objects that several modules read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_containerpolicy.model.model import Model
from tests.kubernetes_values import model_of, objects_of

RECORDED = Path(__file__).parent / "recorded" / "kubernetes"


@pytest.fixture(scope="session")
def everything() -> Model:
    """One Kubernetes object of each kind, and workloads of every sort."""
    return model_of(objects_of(RECORDED / "everything.yaml"), live=False)
