"""The user, capabilities and file system that a container's first process really has."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.inside import (
    CAPABILITIES,
    FROM_INSIDE,
    Copy,
    Vitals,
    declared_in_files,
    few,
    in_every_copy,
    keeps_running,
    look_into,
)
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.paths import field_path

Document = Mapping[str, Any]
_ALL = frozenset(CAPABILITIES)
# What containerd and Docker give a container that asks for nothing; CRI-O gives fewer.
# https://github.com/moby/moby/blob/master/daemon/pkg/oci/caps/defaults.go
_DEFAULT = frozenset(
    (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
        *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
)
_ROOT = ("0", "root")
_SECCOMP = re.compile("seccomp[=:](?!unconfined)")


class Confinement(Struct, frozen=True, kw_only=True):
    """What is declared of a container's rights; the defaults of a platform where nothing is.

    `user` is a uid or a name, empty where nothing is declared. `capabilities` are the most that it
    may have.
    """

    user: str = ""
    not_root: bool = False
    capabilities: frozenset[str] = _DEFAULT
    no_new_privileges: bool = False
    is_filtered: bool = False
    read_only_root: bool = False


@experiment("probe", f"reads the status of its first process {FROM_INSIDE}", applies=keeps_running)
def runs_as_declared(container: Container, lab: Lab) -> Iterator[Violation]:
    """Its first process has no more rights than are declared."""
    yield from in_every_copy(
        container, lab, lambda copy: excesses(look_into(copy, lab), declared_confinement(copy, lab))
    )


def declared_confinement(copy: Copy, lab: Lab) -> Confinement:
    """What a copy's own pod or container declares; the workload's template may be newer."""
    if "spec" in copy.document:
        return _of_pod(copy)
    own = _of_engine(copy.document)
    written = declared_in_files(copy, lab) if lab.platform == "compose" else None
    if written is None:
        return own
    return Confinement(
        user=written.user.partition(":")[0] or own.user,
        capabilities=own.capabilities,
        no_new_privileges=own.no_new_privileges,
        is_filtered=own.is_filtered,
        read_only_root=written.read_only_root or own.read_only_root,
    )


def excesses(vitals: Vitals, declared: Confinement) -> Iterator[Violation]:
    """Every right that goes beyond what is declared. Raises `CannotLook`."""
    container, main = vitals.copy.container, vitals.main
    path = field_path(container, "user")
    if declared.user.isdecimal() and declared.user not in _ROOT and main.user != int(declared.user):
        yield Violation(found=f"runs as uid {main.user}", wanted=f"uid {declared.user}", path=path)
    elif main.user == 0 and _names_other_than_root(declared):
        wanted = f"user {declared.user}" if declared.user else "a user other than root"
        yield Violation(found="runs as root", wanted=wanted, path=path)
    # A kernel newer than our list has capabilities that are not in it.
    more = frozenset() if declared.capabilities >= _ALL else main.bounding - declared.capabilities
    if more:
        yield Violation(found=f"may have {few(sorted(more))}", wanted=_bound(declared.capabilities))
    yield from _unprotected(vitals, declared)


def _unprotected(vitals: Vitals, declared: Confinement) -> Iterator[Violation]:
    container, main = vitals.copy.container, vitals.main
    facts = (
        (declared.no_new_privileges, main.no_new_privileges, "may gain privileges", "none"),
        (declared.is_filtered, main.is_filtered, "no seccomp filter", "the declared profile"),
    )
    for wanted, found, text, remedy in facts:
        if wanted and found is None:
            raise CannotLook(f"its kernel does not tell whether it has {text}")
        if wanted and not found:
            yield Violation(found=text, wanted=remedy)
    root = vitals.mounts.get("/")
    if declared.read_only_root and root is None:
        raise CannotLook("its mounts can't be read")
    if declared.read_only_root and root is not None and not root.is_read_only:
        yield Violation(
            found="the root file system can be written",
            wanted="a read-only one, as declared",
            path=field_path(container, "read_only_root"),
        )


def _names_other_than_root(declared: Confinement) -> bool:
    return declared.not_root or bool(declared.user and declared.user not in _ROOT)


def _bound(names: frozenset[str]) -> str:
    if names == _DEFAULT:
        return "the default capabilities only"
    return f"at most {', '.join(sorted(names))}" if names else "no capabilities"


def _of_pod(copy: Copy) -> Confinement:
    pod = copy.document["spec"].get("securityContext") or {}
    own = copy.spec.get("securityContext") or {}
    both = {**pod, **own}
    wanted = own.get("capabilities") or {}
    profile = (both.get("seccompProfile") or {}).get("type", "Unconfined")
    return Confinement(
        user=str(both.get("runAsUser", "")),
        not_root=bool(both.get("runAsNonRoot")),
        capabilities=_granted(
            bool(own.get("privileged")), wanted.get("add") or (), wanted.get("drop") or ()
        ),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        is_filtered=profile != "Unconfined" and not own.get("privileged"),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
    )


def _of_engine(document: Document) -> Confinement:
    host = document["HostConfig"]
    options = host.get("SecurityOpt") or ()
    privileged = bool(host.get("Privileged"))
    return Confinement(
        user=document["Config"].get("User", "").partition(":")[0],
        capabilities=_granted(privileged, host.get("CapAdd") or (), host.get("CapDrop") or ()),
        no_new_privileges=any(one.startswith("no-new-privileges") for one in options)
        and "no-new-privileges=false" not in options,
        is_filtered=any(_SECCOMP.match(one) for one in options) and not privileged,
        read_only_root=bool(host.get("ReadonlyRootfs")),
    )


def _granted(privileged: bool, add: Iterable[str], drop: Iterable[str]) -> frozenset[str]:
    """The capabilities that a declaration leaves; a privileged container should drop some, too."""
    added, dropped = _names(add), _names(drop)
    return ((_ALL if privileged else _DEFAULT) - dropped) | added


def _names(words: Iterable[str]) -> frozenset[str]:
    names = frozenset(word.upper().removeprefix("CAP_") for word in words)
    return _ALL if "ALL" in names else names
