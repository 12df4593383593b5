"""The pod template of each kind of workload, as somebody wrote it.

What controllers, the scheduler and admission add to a running pod is taken off again, so that the
pod and its manifest are the same.
"""

from collections.abc import Mapping

from msgspec import Struct

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets import kubernetes_pods as pods
from pytest_containerpolicy.targets import kubernetes_workloads as workloads
from pytest_containerpolicy.targets.inventory import Inventory

Found = workloads.WorkloadObject | workloads.Job | workloads.CronJob | pods.Pod
Holders = Mapping[tuple[str, str], workloads.WorkloadObject]

_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - a prefix of volume names
_CONTROLLER_UIDS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_JOB_NAMES = ("job-name", "batch.kubernetes.io/job-name")
_PLACES = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class Template(Struct, frozen=True):
    """A pod's labels and spec, the path to the spec, and other labels that the pod carries."""

    labels: pods.Labels
    spec: pods.PodSpec
    path: str
    labels_given: tuple[pods.Labels, ...] = ()


def template_of(found: Found, holders: Holders) -> Template:
    """The template of a workload; `holders` are the Deployments that Argo Rollouts refer to.

    Raises `UsageError` if it has none.
    """
    if isinstance(found, pods.Pod):
        return _of_pod(found)
    if isinstance(found, workloads.CronJob):
        template = found.spec.job_template.spec.template
        path = "spec.jobTemplate.spec.template.spec"
        return Template(template.metadata.labels or {}, template.spec, path)
    if isinstance(found, workloads.Job):
        return Template(_job_labels(found), found.spec.template.spec, "spec.template.spec")
    written = _referred(found, holders) if found.spec.workload_ref else found.spec.template
    if written is None:
        raise UsageError("spec.template is missing")
    return Template(written.metadata.labels or {}, written.spec, "spec.template.spec")


def template_holders(inventory: Inventory) -> Holders:
    """The Deployments that Argo Rollouts take their pod template from."""
    names = {
        (found.metadata.namespace, found.spec.workload_ref.name)
        for found in inventory.documents("rollouts")
        if found.spec.workload_ref
    }
    return {
        (found.metadata.namespace, found.metadata.name): found
        for found in (inventory.documents("deployments") if names else ())
        if (found.metadata.namespace, found.metadata.name) in names
    }


def _of_pod(found: pods.Pod) -> Template:
    given = found.metadata.labels or {}
    # The API server copies the node's place onto a pod when it binds them.
    is_bound = found.spec.node_name is not None
    labels = {key: given[key] for key in given if not (is_bound and key in _PLACES)}
    others = (given,) if labels != given else ()
    return Template(labels, _without_token(found.spec), "spec", others)


def _without_token(pod: pods.PodSpec) -> pods.PodSpec:
    # The API server mounts a token into every pod: it is nobody's declaration.
    tokens = {v.name for v in pod.volumes or () if v.name.startswith(_TOKEN_VOLUME) and v.projected}
    if tokens:
        pod.volumes = [volume for volume in pod.volumes or () if volume.name not in tokens]
        for container in (*pod.containers, *(pod.init_containers or ())):
            mounts = container.volume_mounts or ()
            container.volume_mounts = [mount for mount in mounts if mount.name not in tokens]
    return pod


def _job_labels(found: workloads.Job) -> pods.Labels:
    # The Job controller labels its pods with the Job's name, and with an id that is different
    # every time.
    labels = found.spec.template.metadata.labels or {}
    kept = {key: value for key, value in labels.items() if key not in _CONTROLLER_UIDS}
    return kept | dict.fromkeys(_JOB_NAMES, found.metadata.name)


def _referred(found: workloads.WorkloadObject, holders: Holders) -> pods.PodTemplate | None:
    reference = found.spec.workload_ref or workloads.WorkloadReference()
    holder = holders.get((found.metadata.namespace, reference.name))
    if reference.kind != "Deployment" or holder is None:
        raise UsageError(
            f"spec.workloadRef: {reference.kind} {reference.name} is not among what was read"
        )
    return holder.spec.template
