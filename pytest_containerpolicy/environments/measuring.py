"""Experiments on what a test holds, each in a laboratory of its own scope."""

from collections.abc import Iterator
from copy import copy
from typing import TypeVar

from pytest_containerpolicy.environments.docker import DockerEnvironment, LiveDockerWorkload
from pytest_containerpolicy.environments.kubernetes import (
    KubernetesCluster,
    KubernetesNamespace,
    LiveWorkload,
)
from pytest_containerpolicy.errors import NotRestored
from pytest_containerpolicy.experiments import load_builtin_experiments
from pytest_containerpolicy.experiments.lab import Lab, LabOptions, open_lab
from pytest_containerpolicy.experiments.restore import reminders, restore
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.uri import Target, Timeouts

SomeTarget = TypeVar("SomeTarget", bound=Target)
LiveSubject = LiveWorkload | LiveDockerWorkload
LiveEnvironment = KubernetesCluster | KubernetesNamespace | DockerEnvironment


class Laboratories:
    """The laboratories of a test session, one per target and workload.

    A test names what it disrupts in its own words, so that the scope of an experiment is the
    workload that it was given, whatever the target's URI names. In a dry run nobody is to act.
    """

    def __init__(
        self, options: LabOptions, timeouts: Timeouts, *, is_dry_run: bool = False
    ) -> None:
        load_builtin_experiments()
        self.is_dry_run = is_dry_run
        self.say = options.progress
        self._options = options
        self._timeouts = timeouts
        self._labs: dict[tuple[str, str], Lab] = {}
        self._restored: set[str] = set()

    def of(self, subject: LiveSubject) -> tuple[Workload, Lab]:
        """The model of a workload as it is now, and the laboratory to act on it."""
        workload = subject.declared
        target = _scoped(_target_of(subject), workload)
        return workload, self._opened(target, str(workload.ref))

    def of_environment(self, environment: LiveEnvironment) -> Lab:
        """The laboratory of a whole environment, or of a namespace."""
        target = _target_of_environment(environment)
        return self._opened(target, str(environment))

    def _opened(self, target: Target, subject: str) -> Lab:
        key = target.id, subject
        if key not in self._labs:
            self._restore(target.durable_uri)
            self._labs[key] = open_lab(target, self._timeouts, self._options)
        return self._labs[key]

    def _restore(self, uri: str) -> None:
        """Undo what dead runs left on an environment before the first act there."""
        if uri in self._restored or self._options.level == "observe":
            return
        problems = restore(self._timeouts, self.say, {uri})
        if problems:
            raise NotRestored("; ".join(problems))
        if not self._restored:
            for line in reminders({uri}):
                self.say(line)
        self._restored.add(uri)

    def evidence(self) -> Iterator[tuple[str, str]]:
        """What was measured, for the report of a test that failed."""
        for (target, subject), lab in self._labs.items():
            if lab.figures:
                yield f"measured on {target}: {subject}", "\n\n".join(lab.figures)
            lab.figures.clear()

    def close(self) -> None:
        """Let go of all of them."""
        for lab in self._labs.values():
            lab.close()


def _target_of(subject: LiveSubject) -> Target:
    if isinstance(subject, LiveWorkload):
        return subject.namespace.cluster.target
    return subject.environment.target


def _target_of_environment(environment: LiveEnvironment) -> Target:
    if not isinstance(environment, KubernetesNamespace):
        return environment.target
    scoped = copy(environment.cluster.target)
    scoped.namespaces = (environment.name,)
    return scoped


def _scoped(target: SomeTarget, workload: Workload) -> SomeTarget:
    scoped = copy(target)
    scoped.workloads = (f"{workload.kind}/{workload.name}".lower(),)
    if isinstance(scoped, KubernetesTarget):
        scoped.namespaces = (workload.namespace,)
    return scoped
