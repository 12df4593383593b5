"""The model of Kubernetes objects, live or from files.

A manifest is the document that the API server would return, less its defaults: they are applied
here, so that both give the same values (https://kubernetes.io/docs/reference/kubernetes-api/).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model import kubernetes_cluster as cluster
from pytest_containerpolicy.model import kubernetes_network as network
from pytest_containerpolicy.model import kubernetes_volumes as volumes
from pytest_containerpolicy.model import kubernetes_workloads as workloads
from pytest_containerpolicy.model.cluster import (
    Autoscaler,
    DisruptionBudget,
    LimitRange,
    Namespace,
    Node,
    Quota,
)
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.kubernetes_running_pods import RunningPods
from pytest_containerpolicy.model.kubernetes_templates import template_holders
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import EndpointSlice, NetworkPolicy, Route, Service
from pytest_containerpolicy.model.volume import Claim, PersistentVolume, StorageClass
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Inventory, Unreadable
from pytest_containerpolicy.targets.kubernetes_pods import KubernetesObject

Noun = TypeVar("Noun")

_WORKLOADS = tuple(workloads.WORKLOAD_KINDS)
SOURCES: dict[type, tuple[str, ...]] = {
    Workload: _WORKLOADS,
    # What a LimitRange gives a container is as good as its own.
    Container: (*_WORKLOADS, "limitranges"),
    Service: ("services",),
    EndpointSlice: ("endpointslices",),
    Route: ("ingresses", "httproutes"),
    NetworkPolicy: ("networkpolicies",),
    DisruptionBudget: ("poddisruptionbudgets",),
    Autoscaler: ("horizontalpodautoscalers",),
    Claim: ("persistentvolumeclaims",),
    PersistentVolume: ("persistentvolumes",),
    StorageClass: ("storageclasses",),
    Quota: ("resourcequotas",),
    LimitRange: ("limitranges",),
    Node: ("nodes",),
    Namespace: ("namespaces",),
}


def build(inventory: Inventory) -> Model:
    """The model of an inventory of Kubernetes; an object that makes no sense becomes a gap."""
    model = Model(inventory.header, SOURCES)
    builder = _Builder(inventory, model)
    nouns = builder.nouns()
    if builder.gaps:
        unreadable = (*inventory.header.unreadable, *builder.gaps)
        model.header = replace(inventory.header, unreadable=unreadable)
    model.fill(nouns)
    return model


class _Builder:
    """Builds the nouns of one inventory and keeps count of what could not be built."""

    def __init__(self, inventory: Inventory, model: Model) -> None:
        self._inventory = inventory
        self._model = model
        self.gaps: list[Unreadable] = []

    def nouns(self) -> dict[type, list[Any]]:
        """Every noun, those first that others depend on."""
        found: dict[type, list[Any]] = {
            Node: self._each("nodes", cluster.node),
            LimitRange: self._each("limitranges", cluster.limit_range),
            Autoscaler: self._with_model("horizontalpodautoscalers", cluster.autoscaler),
        }
        found[Workload] = list(self._workloads(found))
        return found | self._network() | self._storage() | self._guards()

    def _workloads(self, found: dict[type, list[Any]]) -> Iterator[Workload]:
        surroundings = workloads.Surroundings(
            model=self._model,
            defaults=workloads.defaults_of(found[LimitRange]),
            autoscalers={
                (a.ref.namespace, a.target_kind, a.target_name): a for a in found[Autoscaler]
            },
            nodes=tuple(found[Node]),
            templates=template_holders(self._inventory),
        )
        pods = RunningPods(self._inventory)
        for plural, document, make in workloads.controllers(self._inventory, surroundings):
            workload = self._try(plural, document, make)
            if workload is not None:
                pods.describe(workload)
                yield workload

    def _network(self) -> dict[type, list[Any]]:
        return {
            Service: self._with_model("services", network.service),
            EndpointSlice: self._each("endpointslices", network.endpoint_slice),
            Route: self._with_model("ingresses", network.ingress)
            + self._with_model("httproutes", network.http_route),
            NetworkPolicy: self._with_model("networkpolicies", network.network_policy),
        }

    def _storage(self) -> dict[type, list[Any]]:
        return {
            Claim: self._with_model("persistentvolumeclaims", volumes.standing_claim),
            PersistentVolume: self._each("persistentvolumes", volumes.persistent_volume),
            StorageClass: self._each("storageclasses", volumes.storage_class),
        }

    def _guards(self) -> dict[type, list[Any]]:
        return {
            DisruptionBudget: self._with_model("poddisruptionbudgets", cluster.disruption_budget),
            Quota: self._each("resourcequotas", cluster.quota),
            Namespace: self._each("namespaces", cluster.namespace),
        }

    def _with_model(self, plural: str, make: Callable[[Any, Model], Noun]) -> list[Noun]:
        return self._each(plural, lambda found: make(found, self._model))

    def _each(self, plural: str, make: Callable[[Any], Noun]) -> list[Noun]:
        built = (
            self._try(plural, document, partial(make, document))
            for document in self._inventory.documents(plural)
        )
        return [noun for noun in built if noun is not None]

    def _try(
        self, plural: str, document: KubernetesObject, make: Callable[[], Noun]
    ) -> Noun | None:
        try:
            return make()
        except UsageError as error:
            metadata, origin = document.metadata, document.origin
            place = f"{origin.file}:{origin.line}: " if origin else ""
            reason = f"{place}{metadata.name}: {error}"
            self.gaps.append(Unreadable(plural, reason, metadata.namespace or None))
            return None
