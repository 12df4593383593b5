"""Whether the certificates that Ingresses show are right, trusted and valid for long enough."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.addresses import host_and_port
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab
from pytest_containerpolicy.experiments.network_scene import own_pod
from pytest_containerpolicy.experiments.network_vantage import open_vantage
from pytest_containerpolicy.experiments.prober_streams import LocalStream
from pytest_containerpolicy.experiments.reach import Found, Probe, ask
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.x509 import read_certificate
from pytest_containerpolicy.model.network import Route

_PORT = 443
_SECONDS = 5.0
# What every certificate for `*.shop.example` is for.
_ANY_LABEL = "containerpolicy"
_ELSEWHERE = ("timeout", "unreachable", "dns")


class Shown(Struct, frozen=True, kw_only=True):
    """What one address showed for one host."""

    host: str
    address: str
    found: Found

    @property
    def asked_for(self) -> str:
        """A name that the host stands for."""
        return _name(self.host)


def has_tls(route: Route) -> bool:
    """Whether it is an Ingress that serves anything over TLS."""
    return bool(route.tls_hosts)


@experiment("probe", "opens TLS connections to its addresses", applies=has_tls)
def certificates_valid(
    route: Route,
    lab: KubernetesLab,
    days: int = 21,
    address: str = "",
    allow_self_signed: bool = False,
) -> Iterator[Violation]:
    """Each host's certificate is for it, trusted, and valid for `days` days more.

    It is asked for at the addresses in the Ingress' status, or at `address` (with its port if
    that is not 443), from here or else from a pod. Certificates of an authority that the default
    trust store does not know are found unless `allow_self_signed`.
    """
    for shown in _shown(lab, route, address):
        found = shown.found
        if found.outcome in _ELSEWHERE:
            raise CannotLook(
                f"{route.ref}: {shown.address} can't be reached, neither from here nor from a pod"
                f" ({found.outcome}): name one that can with the param address"
            )
        problems = list(_problems(shown, days))
        if not problems and not allow_self_signed:
            problems = list(_distrust(shown))
        for problem, wanted in problems:
            yield Violation(
                found=f"{shown.asked_for or shown.address}: {problem}",
                wanted=wanted,
                path="spec.tls",
                why=f"shown at {shown.address}",
            )


def _shown(lab: KubernetesLab, route: Route, address: str) -> list[Shown]:
    """What each address shows for each host."""
    namespace, name = route.ref.namespace, route.ref.name
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{name}"
    addresses = [address] if address else list(_addresses(lab.get(path)))
    if not addresses:
        raise CannotLook(
            f"{route.ref} has no address in its status: its certificate is not shown anywhere, and"
            " secrets are not read; name where it is served with the param address"
        )
    asked = [(host, place) for place in addresses for host in route.tls_hosts]
    probes = [_probe(str(n), host, place) for n, (host, place) in enumerate(asked)]
    found = ask(LocalStream(), probes)
    # A firewall on the way from here may refuse what clients in the cluster reach.
    if not any(one.detail.certificate for one in found):
        lab.say(f"certificates: asking for those of {route.ref} from a pod")
        with own_pod(lab, namespace) as pod:
            found = open_vantage(lab, pod, whole=True).ask(lab, probes)
    return [
        Shown(host=host, address=place, found=one)
        for (host, place), one in zip(asked, found, strict=True)
    ]


def _addresses(document: Document) -> Iterator[str]:
    balancer = (document.get("status") or {}).get("loadBalancer") or {}
    for entry in balancer.get("ingress") or ():
        if place := entry.get("ip") or entry.get("hostname"):
            yield place


def _probe(number: str, host: str, place: str) -> Probe:
    address, port = host_and_port(place, "address", _PORT)
    return Probe(
        id=number,
        protocol="tls",
        host=address,
        port=port,
        server_name=_name(host),
        timeout=_SECONDS,
    )


def _name(host: str) -> str:
    return _ANY_LABEL + host.removeprefix("*") if host.startswith("*.") else host


def _problems(shown: Shown, days: int) -> Iterator[tuple[str, str]]:
    """What is wrong with the certificate itself, and what is wanted."""
    found = shown.found
    if not found.detail.certificate:
        reason = f" ({found.detail.reason})" if found.detail.reason else ""
        yield f"no certificate: {found.outcome}{reason}", "a TLS connection"
        return
    certificate, now = read_certificate(found.detail.certificate), datetime.now(UTC)
    if shown.host and not certificate.is_for(shown.asked_for):
        names = ", ".join(certificate.names) or "no name"
        yield f"the certificate is for {names}", f"one for {shown.host}"
    wanted = f"one that is valid for {days} days more"
    if certificate.not_before > now:
        yield f"the certificate is not valid before {certificate.not_before:%Y-%m-%d}", wanted
    left = certificate.not_after - now
    if left < timedelta(days=days):
        when = f"{certificate.not_after:%Y-%m-%d}"
        over = left < timedelta()
        text = f"expired on {when}" if over else f"expires in {left.days} days, on {when}"
        yield f"the certificate {text}", wanted


def _distrust(shown: Shown) -> Iterator[tuple[str, str]]:
    detail = shown.found.detail
    if not detail.verified:
        yield (
            f"the certificate is not trusted: {detail.reason}",
            "a chain of certificates to an authority that clients trust, or allow_self_signed",
        )
