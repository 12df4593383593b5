"""How each program of the testbed is built; which program comes out of which module."""

from __future__ import annotations

from dataclasses import dataclass, field

KUBERNETES = "1.37.2"
MOBY = "29.0.0"


@dataclass(frozen=True)
class Recipe:
    """One Go module under `gomod/` (or `server/`) and the `go build` arguments for it.

    An asset, `MODULE:PATH`, is a file that the module ships and that is kept beside the binaries.
    """

    module: str
    packages: tuple[str, ...]
    tags: str = ""
    variables: tuple[str, ...] = ()
    static_cgo: bool = False
    test_module: bool = False
    assets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of the binaries that come out."""
        return tuple(
            self.module if package == "." else package.rpartition("/")[2]
            for package in self.packages
        )

    @property
    def ldflags(self) -> str:
        """Linker flags: no debug data, and the version that the program reports."""
        words = ["-s", "-w", *(f"-X {variable}" for variable in self.variables)]
        if self.static_cgo:
            words.append('-linkmode external -extldflags "-static"')
        return " ".join(words)


def _kubernetes_version() -> tuple[str, ...]:
    major, minor, _ = KUBERNETES.split(".")
    values = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    values |= {"gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple(f"{p}.{name}={value}" for p in packages for name, value in values.items())


def _helm_version() -> tuple[str, ...]:
    # Charts render differently by cluster version; unset, helm takes a cluster of 2020.
    major, minor, _ = KUBERNETES.split(".")
    return (
        "helm.sh/helm/v3/internal/version.version=v3.22.0",
        f"helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor={major}",
        f"helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={minor}",
    )


_CONTAINERD = "github.com/containerd/containerd/v2"
_PLUGINS = "github.com/containernetworking/plugins/plugins"
_MOBY = "github.com/moby/moby/v2"
_KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "kubeadm",
)

RECIPES = (
    Recipe("server", (".",), test_module=True),
    Recipe(
        "containerd",
        tuple(f"{_CONTAINERD}/cmd/{c}" for c in ("containerd", "containerd-shim-runc-v2", "ctr")),
        tags="no_btrfs no_devmapper no_zfs",
        variables=(f"{_CONTAINERD}/version.Version=v2.4.2",),
    ),
    Recipe(
        "runc",
        ("github.com/opencontainers/runc",),
        tags="seccomp netgo osusergo",
        variables=("main.version=1.5.2",),
        static_cgo=True,
    ),
    Recipe(
        "moby",
        (f"{_MOBY}/cmd/dockerd", f"{_MOBY}/cmd/docker-proxy"),
        tags="netgo osusergo exclude_graphdriver_btrfs no_systemd",
        variables=(f"{_MOBY}/dockerversion.Version={MOBY}",),
    ),
    Recipe("etcd", (".",)),
    Recipe(
        "cni",
        (
            f"{_PLUGINS}/ipam/host-local",
            f"{_PLUGINS}/main/bridge",
            f"{_PLUGINS}/main/loopback",
            f"{_PLUGINS}/main/ptp",
            f"{_PLUGINS}/meta/portmap",
        ),
    ),
    Recipe(
        "kubernetes",
        tuple(f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES),
        variables=_kubernetes_version(),
    ),
    Recipe("coredns", (".",)),
    Recipe("metrics-server", ("sigs.k8s.io/metrics-server/cmd/metrics-server",)),
    Recipe(
        "local-path",
        ("github.com/rancher/local-path-provisioner",),
        variables=("main.VERSION=v0.0.30",),
    ),
    Recipe(
        "kwok",
        ("sigs.k8s.io/kwok/cmd/kwok",),
        assets=(
            "sigs.k8s.io/kwok:kustomize/stage/node/fast/node-initialize.yaml",
            "sigs.k8s.io/kwok:kustomize/stage/pod/fast/pod-ready.yaml",
            "sigs.k8s.io/kwok:kustomize/stage/pod/fast/pod-complete.yaml",
            "sigs.k8s.io/kwok:kustomize/stage/pod/fast/pod-delete.yaml",
        ),
    ),
    Recipe("helm", ("helm.sh/helm/v3/cmd/helm",), variables=_helm_version()),
)
