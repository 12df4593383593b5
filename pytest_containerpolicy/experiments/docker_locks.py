"""Locks by which one run holds a Docker workload: a Swarm's config, or an engine's volume.

Each is the one object of its name, made by whoever comes first, and says who that is.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, daemon_errors
from pytest_containerpolicy.experiments.lab import RUN_LABEL, undo
from pytest_containerpolicy.model.workload import Workload

UNTIL_LABEL = "containerpolicy/until"
# Labels of a volume can't be renewed: longer than any experiment on one workload takes.
_HOURS = 6
_CONFLICT = 409
# https://github.com/moby/swarmkit/blob/master/manager/controlapi/config.go
_LONGEST_NAME = 64
Labels = dict[str, str]


@contextmanager
def hold(lab: DockerLab, workload: Workload) -> Iterator[None]:
    """Hold a workload. Raises `CannotLook` if another run does."""
    name = lock_name(lab, workload.name)
    undo_function = remove_swarm_lock if lab.platform == "swarm" else remove_lock
    with lab.undoing(undo_function, f"lock {name} is left", name=name, run=lab.run):
        with daemon_errors(f"lock of {workload.ref}"):
            holder = _holder(lab, name)
        if holder.get(RUN_LABEL) != lab.run:
            raise CannotLook(
                f"{workload.ref} is being disrupted by run {holder.get(RUN_LABEL, '?')}: wait for"
                " its end, or run `containerpolicy restore` where it ran"
            )
        yield


def lock_name(lab: DockerLab, workload: str) -> str:
    """The name of a workload's lock.

    Services of several projects may have one name; a Swarm bounds the length of its own.
    """
    project = getattr(lab.target, "project", "")
    name = "-".join(filter(None, ("containerpolicy-lock", project, workload)))
    if lab.platform == "swarm" and len(name) > _LONGEST_NAME:
        return f"containerpolicy-lock-{hashlib.sha256(workload.encode()).hexdigest()[:32]}"
    return name


def _holder(lab: DockerLab, name: str) -> Labels:
    """The labels of the lock, which is ours if nobody has it, or its time is over."""
    now = _daemon_time(lab)
    labels = {RUN_LABEL: lab.run, UNTIL_LABEL: (now + timedelta(hours=_HOURS)).isoformat()}
    make, remove = (_make_config, _remove_config) if lab.platform == "swarm" else _VOLUMES
    identity, holder = make(lab, name, labels)
    if holder.get(RUN_LABEL) != lab.run and _is_over(holder, now):
        remove(lab, identity)
        _, holder = make(lab, name, labels)
    return holder


def _daemon_time(lab: DockerLab) -> datetime:
    """The clock of the daemon, as those of the machines that run us may be ahead or behind."""
    return datetime.fromisoformat(lab.client.api.info()["SystemTime"])


def _is_over(labels: Labels, now: datetime) -> bool:
    until = labels.get(UNTIL_LABEL)
    return bool(until) and datetime.fromisoformat(str(until)) < now


def _make_volume(lab: DockerLab, name: str, labels: Labels) -> tuple[str, Labels]:
    """A volume keeps the labels that whoever made it first gave it."""
    found = lab.client.api.create_volume(name, labels=labels)
    return name, dict(found.get("Labels") or {})


def _remove_volume(lab: DockerLab, identity: str) -> None:
    lab.client.api.remove_volume(identity)


_VOLUMES = _make_volume, _remove_volume


def _make_config(lab: DockerLab, name: str, labels: Labels) -> tuple[str, Labels]:
    """A Swarm has one config of a name, whichever manager is asked."""
    from docker.errors import APIError

    api: Any = lab.client.api
    try:
        return api.create_config(name, lab.run.encode(), labels)["ID"], labels
    except APIError as error:
        if error.status_code != _CONFLICT:
            raise
    found = api.inspect_config(name)
    return found["ID"], dict(found["Spec"].get("Labels") or {})


def _remove_config(lab: DockerLab, identity: str) -> None:
    api: Any = lab.client.api
    api.remove_config(identity)


@undo
def remove_lock(lab: DockerLab, name: str, run: str) -> None:
    """Remove the volume by which a run holds a workload."""
    from docker.errors import NotFound

    with daemon_errors(f"removal of lock {name}"):
        try:
            labels = lab.client.api.inspect_volume(name).get("Labels") or {}
        except NotFound:
            return
        if labels.get(RUN_LABEL) == run:
            _remove_volume(lab, name)


@undo
def remove_swarm_lock(lab: DockerLab, name: str, run: str) -> None:
    """Remove the config by which a run holds a service."""
    from docker.errors import NotFound

    with daemon_errors(f"removal of lock {name}"):
        api: Any = lab.client.api
        try:
            found = api.inspect_config(name)
        except NotFound:
            return
        if (found["Spec"].get("Labels") or {}).get(RUN_LABEL) == run:
            _remove_config(lab, found["ID"])
