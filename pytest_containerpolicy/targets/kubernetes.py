"""A live Kubernetes cluster: `k8s://CONTEXT?namespace=a&kubeconfig=PATH`, `k8s+incluster://`."""

import os
import re
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.kubernetes_kubeconfig import Access, find_access
from pytest_containerpolicy.targets.uri import Target, TargetUri, Timeouts, workloads_of

if TYPE_CHECKING:
    from pytest_containerpolicy.targets.kubernetes_connection import Connection

_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class KubernetesTarget(Target):
    """A cluster, or some namespaces of it. `access` is None inside a pod of the cluster."""

    platform = "kubernetes"
    is_live = True
    scope_example = "k8s://CONTEXT?namespace=shop or k8s://CONTEXT?namespace=shop&workload=web"

    def __init__(
        self,
        uri: str,
        access: Access | None,
        namespaces: tuple[str, ...] = (),
        workloads: tuple[str, ...] = (),
    ) -> None:
        self.uri = uri
        self.access = access
        self.namespaces = namespaces
        self.workloads = workloads
        self.id = _id(access.context) if access else "k8s:incluster"

    @classmethod
    def from_uri(cls, uri: TargetUri) -> "KubernetesTarget":
        if uri.is_file:
            raise TargetError(
                f"{uri.text}: write {uri.scheme}://{'' if uri.transport else 'CONTEXT'}"
            )
        scope = ("namespace", "workload")
        uri.allow(scope if uri.transport else (*scope, "kubeconfig"))
        namespaces, workloads = _namespaces(uri), workloads_of(uri)
        if uri.transport:
            _require_pod(uri)
            return cls(uri.text, None, namespaces, workloads)
        context = (uri.authority + uri.path).removesuffix("/")
        access = find_access(uri.text, context, uri.value("kubeconfig"))
        return cls(uri.text, access, namespaces, workloads)

    @property
    def names_scope(self) -> bool:
        return bool(self.namespaces)

    @property
    def durable_uri(self) -> str:
        if self.access is None:
            return self.uri
        context, location = quote(self.access.context, safe=":@"), self.access.location
        return f"k8s://{context}?kubeconfig={quote(str(location), safe='/')}"

    def connect(self, timeouts: Timeouts) -> "Connection":
        """Open a connection with the credentials that the URI leads to.

        Raises `Unreachable` if the credentials can't be loaded.
        """
        from pytest_containerpolicy.targets.kubernetes_connection import Connection

        return Connection.open(self.id, self.access, timeouts)

    def read(self, timeouts: Timeouts) -> Inventory:
        from pytest_containerpolicy.targets.kubernetes_reader import read_cluster

        with closing(self.connect(timeouts)) as connection:
            return read_cluster(connection, self.namespaces)


def _require_pod(uri: TargetUri) -> None:
    if uri.authority or uri.path:
        raise TargetError(f"{uri.text}: takes no name: write {uri.scheme}://")
    if not os.environ.get(_IN_CLUSTER):
        raise TargetError(
            f"{uri.text}: not inside a pod ({_IN_CLUSTER} is not set): write k8s://CONTEXT"
        )


def _namespaces(uri: TargetUri) -> tuple[str, ...]:
    names = sorted(set(uri.values("namespace")))
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise TargetError(
                f"{uri.text}: {name!r} is no namespace name (1-63 of a-z, 0-9 and -;"
                " give the key once per namespace)"
            )
    return tuple(names)


def _id(context: str) -> str:
    # `::` separates the parts of pytest's node ids; an id is also printed in terminals.
    printable = "".join(c if c.isprintable() and c != " " else "_" for c in f"k8s:{context}")
    return re.sub(":{2,}", ":", printable).rstrip(":")
