"""What tells whether a probe's answer, or the lack of one, means anything."""

from pytest_containerpolicy.experiments.reach import Found, Probe
from pytest_containerpolicy.experiments.reachability import Pod

NODE, MIRAGE, ORACLE = "node", "mirage", "oracle"
# A name that a name server need not know: it is asked whether it answers at all.
ANY_NAME = "kubernetes.default.svc.cluster.local"
_KUBELET_PORT = 10250
# Nobody has this address (https://www.rfc-editor.org/rfc/rfc5737): what answers there is a proxy.
_NOBODY = "192.0.2.1"
_REACHED = ("open", "answered", "resolved")


def control_probes(pod: Pod, timeout: float) -> list[Probe]:
    """Whether the pod reaches its node, and whether a proxy answers in the name of everybody."""
    return [
        Probe(id=NODE, protocol="tcp", host=pod.node_address, port=_KUBELET_PORT, timeout=timeout),
        Probe(id=MIRAGE, protocol="tcp", host=_NOBODY, port=_KUBELET_PORT, timeout=timeout),
        Probe(id=ORACLE, protocol="dns", host=_NOBODY, name=ANY_NAME, timeout=timeout),
    ]


def is_answer(found: Found) -> bool:
    """Whether the other end was reached; a name server that knows no such name was, too."""
    return found.outcome in _REACHED or found.detail.rcode is not None
