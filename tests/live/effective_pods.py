"""Pods with one known difference each between what is declared and what is in force."""

from __future__ import annotations

from typing import Any

SERVER, DISTROLESS, BUSYBOX = "testbed/server:1", "testbed/distroless:1", "testbed/busybox:1"
PYTHON = "testbed/python:1"
# Begins as root, as a shell in it does, and goes on as another user: gosu, su-exec, setpriv.
LEAVES_ROOT = (
    "import os; os.chown('/own', 1000, 1000); os.chmod('/theirs', 0o755); os.setgroups([]);"
    " os.setgid(1000); os.setuid(1000); os.execvp('sleep', ['sleep', '1000'])"
)
# Writes as another user than its first process was, to a folder that it keeps to itself.
_STATE = (
    "os.mkdir('/kept', 0o700); os.chown('/kept', 1000, 1000); os.setgroups([]); os.setgid(1000);"
    " os.setuid(1000); open('/kept/state', 'w').write('state')"
)
_SLEEP = "os.execvp('sleep', ['sleep', '1000'])"
_CLOSES = f"import os; {_STATE}; {_SLEEP}"
_CHILD_CLOSES = f"import os; os.fork() and {_SLEEP}; {_STATE}; {_SLEEP}"
# A root that may not look into others' folders.
_LESS_ROOT: dict[str, Any] = {
    "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "FOWNER", "SETUID", "SETGID"]}
}
CONFINED = {
    "runAsUser": 1000,
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# It takes more memory than it is allowed to, all at once and in one process: of several the kernel
# might kill another one, or two.
HOG = "dd if=/dev/zero of=/dev/null bs=40M count=1"
# The child is killed, and the container's first process does not even notice.
KILLED_CHILD = f"{HOG}; exec sleep 1000"
_UNMOUNT = "umount /gone && mount -o remount,bind,ro /stuck && exec sleep 1000"
# Of the files beside the volume one has an old date, as those of an archive have.
_FILL = (
    "head -c 2000000 /dev/zero >/full/x; sleep 2; mkdir /srv; echo 1 >/srv/state;"
    " echo 22 >/srv/kept; touch -d '2001-01-01 00:00' /srv/kept; exec sleep 1000"
)
_LEAVE = ["python3", "-c", LEAVES_ROOT]
_KEEP = "chmod 700 /data && exec true"
_IN_MEMORY = {"medium": "Memory", "sizeLimit": "1Mi"}


def container(name: str = "app", image: str = SERVER, *mounts: str, **spec: Any) -> dict[str, Any]:
    """A container with limits, `mounts` of the volumes of the same names, and parts of its spec."""
    limits = {"memory": spec.pop("memory", "64Mi"), "cpu": spec.pop("cpu", "500m")}
    env = [{"name": key, "value": value} for key, value in spec.pop("env", {}).items()]
    return {
        "name": name,
        "image": image,
        "env": env,
        "resources": {"limits": limits, "requests": {"cpu": "10m", "memory": "8Mi"}},
        "volumeMounts": [{"name": mount, "mountPath": f"/{mount}"} for mount in mounts],
        **spec,
    }


def shell(script: str, *mounts: str, **spec: Any) -> dict[str, Any]:
    """A container that runs a script."""
    return container("app", BUSYBOX, *mounts, command=["sh", "-c", script], **spec)


def hiding(program: str = _CHILD_CLOSES) -> dict[str, Any]:
    """A container that writes to a folder beside its volumes, which its own root can't look into.

    Its first process may, unless it is a child of it that writes there.
    """
    command = ["python3", "-c", program]
    return container("app", PYTHON, command=command, memory="128Mi", securityContext=_LESS_ROOT)


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod with every volume that its containers mount."""
    every = (*containers, *spec.get("initContainers", ()))
    names = {mount["name"] for one in every for mount in one["volumeMounts"]}
    source = {"full": _IN_MEMORY}
    volumes = [{"name": name, "emptyDir": source.get(name, {})} for name in sorted(names)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": list(containers),
            "volumes": volumes,
            **spec,
        },
    }


def well() -> list[dict[str, Any]]:
    """Pods in which everything is as declared."""
    confined: dict[str, Any] = {"securityContext": CONFINED}
    bare = container(resources={})
    return [
        pod("right", container("app", SERVER, "data", **confined)),
        pod("right-distroless", container("app", DISTROLESS, "data", **confined)),
        pod("right-root-distroless", container("app", DISTROLESS, "data")),
        pod(
            "right-shared",
            container("app"),
            container("other", DISTROLESS, memory="32Mi", env={"PORT": "81"}),
            shareProcessNamespace=True,
        ),
        pod("right-whole", bare, resources={"limits": {"memory": "64Mi", "cpu": "500m"}}),
    ]


def faulty() -> list[dict[str, Any]]:
    """Pods that are called after what is wrong with them."""
    admin: dict[str, Any] = {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
    privileged = {"privileged": True, "capabilities": {"drop": ["ALL"]}}
    keeper = shell(_KEEP, "data") | {"name": "keep"}
    return [
        pod("resized", container(env={"MEMORY": "40Mi"})),
        pod("killed", shell(KILLED_CHILD, memory="16Mi")),
        pod("killed-whole", container(memory="16Mi", env={"MEMORY": "40Mi"})),
        pod("crashing", container(env={"CRASH_AFTER": "0.1"})),
        pod("busy", container(cpu="50m", env={"BURN": "0.9"})),
        pod("privileged", container(securityContext=privileged)),
        pod("unmounted", shell(_UNMOUNT, "gone", "stuck", **admin)),
        pod("full", shell(_FILL, "full")),
        pod(
            "foreign",
            container("app", SERVER, "data", securityContext=CONFINED),
            initContainers=[keeper],
        ),
        pod("left-root", container("app", PYTHON, "own", "theirs", command=_LEAVE, memory="128Mi")),
        pod("hiding", hiding(_CLOSES)),
        pod("unpulled", container("app", "containerpolicy.invalid/none:1")),
        pod("unplaced", container(), nodeSelector={"kubernetes.io/hostname": "nowhere"}),
    ]
