"""etcd, API server, controller manager and scheduler, as processes in the cluster's namespace."""

from __future__ import annotations

from pathlib import Path

from tests.testbed.builds import HERE, binary
from tests.testbed.layout import Site
from tests.testbed.processes import running, spawn
from tests.testbed.shell import TestbedError, in_namespace, succeeds, wait_until

PROCESSES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "local-path-provisioner",
)
SERVICES = "10.96.0.0/16"
_ETCD = "http://127.0.0.1:2379"

Flags = dict[str, str]


def start_api(site: Site, pki: Path) -> None:
    """Start etcd and the API server; both come up on their own time."""
    _start(site, "etcd", _etcd(site))
    _start(site, "kube-apiserver", _apiserver(site, pki) | _front_proxy(pki))


def wait_for_api(site: Site, pki: Path) -> None:
    """Wait until the API server says that it is ready."""
    kubectl, admin = binary("kubectl"), pki / "admin.conf"
    wait_until(
        f"API server ready (see {site.logs}/kube-apiserver.log)",
        lambda: (
            succeeds(kubectl, "--kubeconfig", admin, "get", "--raw", "/readyz")
            or not running(site, "kube-apiserver")
        ),
        60,
    )
    if not running(site, "kube-apiserver"):
        raise TestbedError(f"the API server ended: see {site.logs}/kube-apiserver.log")


def start_controllers(site: Site, pki: Path, pods: str) -> None:
    """Start what needs the API server."""
    _start(site, "kube-controller-manager", _controller_manager(site, pki, pods))
    _start(site, "kube-scheduler", _clients(pki / "scheduler.conf"))


def start_provisioner(site: Site, pki: Path) -> None:
    """Start what makes a volume for a claim; it wants its namespace to be there."""
    _start(site, "local-path-provisioner", _provisioner(pki), "start")


def _start(site: Site, name: str, flags: Flags, *words: str) -> None:
    argv = [str(binary(name)), *words, *(f"--{flag}={value}" for flag, value in flags.items())]
    spawn(site, name, in_namespace(site.label, argv))


def _etcd(site: Site) -> Flags:
    return {
        "data-dir": f"{site.folder}/etcd",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": "http://127.0.0.1:2380",
        "unsafe-no-fsync": "true",  # a test cluster is never recovered from its disk
        "quota-backend-bytes": str(4 * 2**30),
        "auto-compaction-retention": "10m",
    }


def _apiserver(site: Site, pki: Path) -> Flags:
    return {
        "etcd-servers": _ETCD,
        "advertise-address": site.address,
        "secure-port": "6443",
        "service-cluster-ip-range": SERVICES,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "client-ca-file": f"{pki}/ca.crt",
        "tls-cert-file": f"{pki}/apiserver.crt",
        "tls-private-key-file": f"{pki}/apiserver.key",
        "kubelet-client-certificate": f"{pki}/apiserver-kubelet-client.crt",
        "kubelet-client-key": f"{pki}/apiserver-kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP,Hostname",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": f"{pki}/sa.pub",
        "service-account-signing-key-file": f"{pki}/sa.key",
        # Short, so that a test can watch a node fail without waiting for five minutes.
        "default-not-ready-toleration-seconds": "30",
        "default-unreachable-toleration-seconds": "30",
        "audit-policy-file": f"{HERE}/manifests/audit-policy.yaml",
        "audit-log-path": f"{site.folder}/audit.log",
        "audit-log-mode": "blocking",
        "delete-collection-workers": "4",
        "profiling": "false",
    }


def _front_proxy(pki: Path) -> Flags:
    return {
        "requestheader-client-ca-file": f"{pki}/front-proxy-ca.crt",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-allowed-names": "front-proxy-client",
        "proxy-client-cert-file": f"{pki}/front-proxy-client.crt",
        "proxy-client-key-file": f"{pki}/front-proxy-client.key",
        # The API server is not on a node and has no kube-proxy: it calls endpoints directly.
        "enable-aggregator-routing": "true",
    }


def _controller_manager(site: Site, pki: Path, pods: str) -> Flags:
    return {
        **_clients(pki / "controller-manager.conf"),
        "cluster-signing-cert-file": f"{pki}/ca.crt",
        "cluster-signing-key-file": f"{pki}/ca.key",
        "root-ca-file": f"{pki}/ca.crt",
        "service-account-private-key-file": f"{pki}/sa.key",
        "use-service-account-credentials": "true",
        "allocate-node-cidrs": "false",
        "cluster-cidr": pods,
        "service-cluster-ip-range": SERVICES,
        "node-monitor-grace-period": "20s",
        "horizontal-pod-autoscaler-sync-period": "5s",
    }


def _provisioner(pki: Path) -> Flags:
    return {
        "kubeconfig": f"{pki}/provisioner.conf",
        "config": f"{HERE}/manifests/local-path.json",
        "configmap-name": "local-path",
        "helper-pod-file": f"{HERE}/manifests/local-path-helper.yaml",
        "helper-image": "testbed/busybox:1",
        "namespace": "local-path-storage",
        "service-account-name": "local-path",
    }


def _clients(kubeconfig: Path) -> Flags:
    return {
        "kubeconfig": str(kubeconfig),
        "authentication-kubeconfig": str(kubeconfig),
        "authorization-kubeconfig": str(kubeconfig),
        "leader-elect": "false",
        # The default of 20 requests a second takes minutes for thousands of pods.
        "kube-api-qps": "300",
        "kube-api-burst": "600",
        "bind-address": "127.0.0.1",
    }
