"""Certificates and kubeconfigs of the cluster, made once and kept between starts."""

from __future__ import annotations

import re
import shutil
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.testbed.builds import binary, digest
from tests.testbed.layout import Site
from tests.testbed.recipes import KUBERNETES
from tests.testbed.shell import run, write_atomically

MAX_AGE = 90 * 24 * 3600
CONTEXT = "testbed"
_USERS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "provisioner": ("testbed:provisioner", "system:masters"),
    "kwok": ("testbed:kwok", "system:masters"),
    "policy-agent": ("testbed:policy-agent", "system:masters"),
}
_CONFIG = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {address}, bindPort: 6443}}
nodeRegistration: {{name: control-plane}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: testbed
kubernetesVersion: v{version}
certificatesDir: {folder}
controlPlaneEndpoint: {address}:6443
apiServer: {{certSANs: [127.0.0.1, localhost]}}
networking: {{podSubnet: {pods}, serviceSubnet: 10.96.0.0/16}}
"""


def ensure_pki(site: Site, pods: str, nodes: list[str]) -> Path:
    """The folder with everything; made again when it is old or the addresses changed."""
    folder = site.folder / "pki"
    config = _CONFIG.format(address=site.address, version=KUBERNETES, folder=folder, pods=pods)
    users = _USERS | {node: (f"system:node:{node}", "system:nodes") for node in nodes}
    stamp = folder / f"made-{digest(config.encode(), repr(users).encode())}"
    if not (stamp.exists() and time.time() - stamp.stat().st_mtime < MAX_AGE):
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, config, users)
        stamp.touch()
    return folder


def _make(folder: Path, config: str, users: dict[str, tuple[str, str]]) -> None:
    write_atomically(folder / "kubeadm.yaml", config)
    run(binary("kubeadm"), "init", "phase", "certs", "all", "--config", folder / "kubeadm.yaml")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda item: _kubeconfig(folder, *item), users.items()))
    admin = folder / "admin.conf"
    kubectl = binary("kubectl")
    run(
        kubectl,
        "config",
        "rename-context",
        "kubernetes-admin@testbed",
        CONTEXT,
        "--kubeconfig",
        admin,
    )


def _kubeconfig(folder: Path, name: str, who: tuple[str, str]) -> None:
    user, group = who
    argv = [str(binary("kubeadm")), "kubeconfig", "user", "--client-name", user]
    argv += ["--config", f"{folder}/kubeadm.yaml", "--validity-period", "8760h"]
    argv += ["--org", group] if group else []
    write_atomically(folder / f"{name}.conf", run(*argv), mode=0o600)


def client_certificate(folder: Path, name: str) -> Path:
    """A user's certificate and key in one file, as TLS libraries want them."""
    file = folder / f"{name}.pem"
    if not file.exists():
        text = (folder / f"{name}.conf").read_text()
        found = re.findall(r"client-(?:certificate|key)-data: (\S+)", text)
        write_atomically(file, "".join(b64decode(part).decode() for part in found), mode=0o600)
    return file
