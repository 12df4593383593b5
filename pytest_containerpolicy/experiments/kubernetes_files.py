"""Hands that reach into the files of a pod's containers, with a shell or without."""

from collections.abc import Sequence
from functools import partial

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, Refused
from pytest_containerpolicy.experiments.kubernetes_probers import debugger
from pytest_containerpolicy.experiments.markers import Hand
from pytest_containerpolicy.targets.kubernetes_exec import Output


class PodFiles:
    """The files of one pod, as its containers see them."""

    def __init__(self, lab: KubernetesLab, pod: Document) -> None:
        self._lab, self._pod = lab, pod
        self._hands: dict[str, Hand] = {}

    def hand(self, container: str) -> Hand:
        """What reaches into a container: its shell, else a container of ours beside it.

        Raises `CannotLook` if neither can be had, saying what is missing.
        """
        if container not in self._hands:
            self._hands[container] = self._shell(container) or self._python(container)
        return self._hands[container]

    def _run(self, container: str, argv: Sequence[str]) -> Output:
        metadata = self._pod["metadata"]
        return self._lab.execute(metadata["namespace"], metadata["name"], argv, container=container)

    def _shell(self, container: str) -> Hand | None:
        run = partial(self._run, container)
        return None if run(["sh", "-c", ":"]).code else Hand(run)

    def _python(self, container: str) -> Hand:
        security = security_of(self._pod, container)
        try:
            beside = debugger(self._lab, self._pod, container, security=security)
        except Refused as refusal:
            raise CannotLook(
                f"container {container} of pod {self._pod['metadata']['name']} has no shell,"
                f" and a container beside it is refused: {refusal}"
            ) from None
        return Hand(partial(self._run, beside), "python")


def files_of(lab: KubernetesLab, pod: Document) -> PodFiles:
    """The files of a pod; whoever asks again gets the same hands."""
    return lab.once(("files of pod", pod["metadata"]["uid"]), lambda: PodFiles(lab, pod))


def security_of(pod: Document, container: str) -> Document:
    """A container's own security context, with the user that it really runs as.

    Only who runs as the same user, and has no fewer capabilities, may see another's files:
    https://man7.org/linux/man-pages/man2/ptrace.2.html (ptrace access mode checking)
    """
    spec, status = pod["spec"], pod["status"]
    specs = (*spec["containers"], *(spec.get("initContainers") or ()))
    own = next(one for one in specs if one["name"] == container).get("securityContext") or {}
    statuses = (
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    )
    users = [one.get("user") or {} for one in statuses if one["name"] == container]
    user = users[0].get("linux") or {} if users else {}
    ids = {key: user[name] for key, name in _IDS.items() if name in user}
    return {**own, **ids}


_IDS = {"runAsUser": "uid", "runAsGroup": "gid"}
