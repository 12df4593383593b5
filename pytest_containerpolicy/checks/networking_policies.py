"""Checks of network policies: who is isolated, and what isolation forgets to allow.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from collections.abc import Iterable, Iterator

from pytest_containerpolicy.checks.cluster_dns import NameServer, may_reach, name_servers
from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.cluster import SYSTEM_NAMESPACE
from pytest_containerpolicy.model.network import NetworkPolicy, Service
from pytest_containerpolicy.model.workload import Workload


def can_be_isolated(workload: Workload) -> bool:
    """Network policies do not apply to pods on their node's network."""
    return not workload.host_network


def egress_isolated(workload: Workload) -> bool:
    """Whether only the connections that a network policy allows can be opened."""
    return can_be_isolated(workload) and bool(_isolating(workload))


@check(applies=can_be_isolated)
def ingress_isolated(workload: Workload) -> Iterator[Violation]:
    """Only the connections that a network policy allows reach the workload."""
    policies = workload.network_policies
    if not any(policy.isolates_ingress for policy in policies):
        yield Violation(
            found=f"only egress isolated ({_names(policies)})" if policies else "no NetworkPolicy",
            wanted="a NetworkPolicy with policyTypes Ingress that selects its pods",
        )


@check(applies=egress_isolated)
def egress_allows_dns(
    workload: Workload, tcp: bool = False, sealed: bool = False
) -> Iterator[Violation]:
    """A workload that may open some connections may look up names: over UDP, and TCP if asked.

    `sealed` asks it of those too that may open no connection at all and have no use for names.
    Raises `CannotLook` where only the cluster could tell whether a peer is its DNS.
    """
    policies = _isolating(workload)
    if not sealed and not any(policy.egress for policy in policies):
        return
    if any(not rule.peers and not rule.ports for policy in policies for rule in policy.egress):
        return
    # Where the cluster's DNS is stays unknown without its service: convention is for files.
    workload.model.require(Service, SYSTEM_NAMESPACE)
    servers = name_servers(workload.model)
    missing = [
        f"53/{protocol}"
        for protocol in ("UDP", "TCP")[: 1 + tcp]
        if not _allows(policies, servers, protocol)
    ]
    if missing:
        yield Violation(
            found=f"egress isolated by {_names(policies)}, {' and '.join(missing)} not allowed",
            wanted="an egress rule that allows port 53 to the cluster's DNS",
        )


def _isolating(workload: Workload) -> list[NetworkPolicy]:
    return [policy for policy in workload.network_policies if policy.isolates_egress]


def _names(policies: Iterable[NetworkPolicy]) -> str:
    return ", ".join(policy.ref.name for policy in policies)


def _allows(
    policies: Iterable[NetworkPolicy], servers: Iterable[NameServer], protocol: str
) -> bool:
    answers = [
        (may_reach(rule, policy.ref.namespace, server, protocol), policy)
        for policy in policies
        for rule in policy.egress
        for server in servers
    ]
    if any(answer for answer, _ in answers):
        return True
    unknown = next((policy for answer, policy in answers if answer is None), None)
    if unknown is not None:
        raise CannotLook(
            f"whether {unknown.ref} lets {protocol} port 53 through is not known:"
            f" {unknown.model.target} does not tell which pods, labels and addresses the"
            " cluster's DNS has"
        )
    return False
