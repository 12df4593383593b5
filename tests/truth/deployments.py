"""Deploy a case for real, each under a name of its own so that several run side by side."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docker.errors import APIError, NotFound

from tests.compose_reference import BINARY, ENVIRONMENT
from tests.testbed import Cluster, Engine, Swarm
from tests.testbed.shell import TestbedError, wait_until
from tests.truth.cases import Case

START_SECONDS = 90
_ATTEMPTS = 5
_KINDS = ("Deployment", "StatefulSet")


@dataclass(frozen=True)
class Beds:
    """Where cases are deployed; `folder` is for what they keep on the host."""

    cluster: Cluster
    engine: Engine
    swarm: Swarm
    folder: Path


def deployed(case: Case, beds: Beds) -> AbstractContextManager[str]:
    """The URI of the target that a case is, as long as the context lasts.

    It is ready inside, or fails to start again and again. Raises `TestbedError`.
    """
    match case.platform:
        case "kubernetes":
            return _in_cluster(case, beds.cluster)
        case "compose":
            return _as_project(case, beds.engine, beds.folder)
        case "swarm":
            return _as_services(case, beds.swarm.managers)
    return _as_containers(case, beds.engine)


@contextmanager
def _in_cluster(case: Case, cluster: Cluster) -> Iterator[str]:
    name = _name(case)
    cluster.kubectl("create", "namespace", name)
    try:
        cluster.kubectl("-n", name, "apply", "-f", str(case.file))
        for document in yaml.safe_load_all(case.file.read_text()):
            _wait_for_pods(case, document, lambda *words: cluster.kubectl("-n", name, *words))
        yield f"k8s://{cluster.context}?kubeconfig={cluster.kubeconfig}&namespace={name}"
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def _wait_for_pods(case: Case, document: Any, kubectl: Callable[..., str]) -> None:
    kind, name = document["kind"], document["metadata"]["name"]
    wait = ("wait", f"--timeout={START_SECONDS}s")
    if kind not in (*_KINDS, "Pod"):
        return
    if not case.header.starts:
        reason = "{.status.containerStatuses[0].state.waiting.reason}"
        wait_until("a pod", lambda: kubectl("get", "pods", "-l", f"app={name}", "-o", "name"), 20)
        kubectl(*wait, f"--for=jsonpath={reason}=CrashLoopBackOff", "pods", "-l", f"app={name}")
    elif kind == "Pod":
        kubectl(*wait, "--for=condition=Ready", f"pod/{name}")
    else:
        copies = f"--for=jsonpath={{.status.availableReplicas}}={document['spec']['replicas']}"
        kubectl(*wait, copies, f"{kind}/{name}")


@contextmanager
def _as_project(case: Case, engine: Engine, folder: Path) -> Iterator[str]:
    name = _name(case)
    home = folder / name
    home.mkdir()
    file = Path(shutil.copy(case.file, home / "compose.yaml"))

    def compose(*words: str) -> None:
        argv = [str(BINARY), "-p", name, "-f", str(file), *words]
        environment = {**ENVIRONMENT, "DOCKER_HOST": engine.url}
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise TestbedError(f"{' '.join(argv)}: {done.stderr.strip()}")

    try:
        compose("up", "-d")
        _wait_for_project(case, engine, name)
        yield f"compose://{name}?host={engine.url}"
    finally:
        compose("down", "-v", "-t", "0", "--remove-orphans")


def _wait_for_project(case: Case, engine: Engine, project: str) -> None:
    """Wait until all its containers are ready, or the one that does not start has shown it."""
    labels = [f"com.docker.compose.project={project}"]
    if not case.header.starts:
        labels.append(f"com.docker.compose.service={case.subject}")
    with closing(engine.client()) as client:

        def arrived() -> bool:
            found = [c.attrs for c in client.containers.list(all=True, filters={"label": labels})]
            if case.header.starts:
                return all(map(_is_ready, found))
            return any(map(_has_ended, found))

        wait_until(f"{case.id} is up", arrived, START_SECONDS)


def _has_ended(container: dict[str, Any]) -> bool:
    """Whether it is over, or waits for longer and longer before the next attempt."""
    return bool(container["RestartCount"] >= _ATTEMPTS or container["State"]["Status"] == "exited")


@contextmanager
def _as_services(case: Case, managers: list[Engine]) -> Iterator[str]:
    content = yaml.safe_load(case.file.read_text())
    manager = managers[0]
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(manager.client())).api
        undo.callback(_remove_volumes, managers, f"truth-{case.name}")
        for network in content["networks"]:
            created = client.create_network(
                network["Name"], driver=network["Driver"], attachable=network["Attachable"]
            )
            undo.callback(_until_forgotten, managers, created["Id"])
            undo.callback(_until_free, client.remove_network, created["Id"])
        for service in content["services"]:
            identity = _create(client, "services/create", service["Spec"])
            undo.callback(client.remove_service, identity)
            _wait_for_tasks(client, identity, service["Spec"]["Mode"]["Replicated"]["Replicas"])
        yield f"swarm+{_host_of_a_task(managers, case.subject).url}?workload={case.subject}"


def _wait_for_tasks(client: Any, service: str, copies: int) -> None:
    def started() -> bool:
        tasks = client.tasks(filters={"service": service, "desired-state": "running"})
        return [task["Status"]["State"] for task in tasks].count("running") == copies

    wait_until(f"{copies} tasks of {service} run", started, START_SECONDS)


@contextmanager
def _as_containers(case: Case, engine: Engine) -> Iterator[str]:
    content = yaml.safe_load(case.file.read_text())
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(engine.client())).api
        undo.callback(_remove_volumes, [engine], f"truth-{case.name}")
        for document in content["containers"]:
            body = {**document["Config"], "HostConfig": document.get("HostConfig", {})}
            name = document["Name"].removeprefix("/")
            identity = _create(client, "containers/create", body, name=name)
            undo.callback(client.remove_container, name, v=True, force=True)
            client.start(identity)
            _wait_for_container(client, identity, _is_ready if case.header.starts else _has_ended)
        yield f"engine+{engine.url}?workload={case.subject}"


def _host_of_a_task(managers: list[Engine], service: str) -> Engine:
    """A manager on whose node the service runs: only there its files can be seen."""
    for manager in managers:
        with closing(manager.client()) as client:
            api: Any = client.api
            node = api.info()["Swarm"]["NodeID"]
            if api.tasks(filters={"service": service, "node": node, "desired-state": "running"}):
                return manager
    raise TestbedError(f"no manager runs a task of {service}")


def _wait_for_container(
    client: Any, identity: str, has_come: Callable[[dict[str, Any]], bool]
) -> None:
    wait_until(
        f"container {identity} starts",
        lambda: has_come(client.inspect_container(identity)),
        START_SECONDS,
    )


def _is_ready(container: dict[str, Any]) -> bool:
    state = container["State"]
    health = state.get("Health", {}).get("Status")
    return state["Status"] == "running" and health in (None, "healthy")


def _create(client: Any, path: str, body: dict[str, Any], **params: str) -> str:
    """Create something just as its file has it; its id."""
    url = f"{client.base_url}/v{client.api_version}/{path}"
    response = client.post(url, json=body, params=params)
    if response.status_code != 201:
        raise TestbedError(f"{path}: {response.text.strip()}")
    content = response.json()
    return str(content.get("ID") or content["Id"])


def _until_free(remove: Callable[[str], None], identity: str) -> None:
    """Remove what is in use until its last user has gone."""

    def removed() -> bool:
        try:
            remove(identity)
        except NotFound:
            return True
        except APIError:
            return False
        return True

    wait_until(f"{identity} can be removed", removed, 60, pause=0.3)


def _until_forgotten(managers: list[Engine], network: str) -> None:
    """Wait until no node has the network: its addresses may be given to the next one before."""

    def forgotten() -> bool:
        for manager in managers:
            with closing(manager.client()) as client:
                if client.api.networks(ids=[network]):
                    return False
        return True

    wait_until(f"{network} is forgotten", forgotten, 60)


def _remove_volumes(engines: list[Engine], name: str) -> None:
    for engine in engines:
        with closing(engine.client()) as client, suppress(NotFound):
            _until_free(client.api.remove_volume, name)


def _name(case: Case) -> str:
    # What an earlier run deleted may still be on its way out.
    return f"truth-{case.challenge}-{case.name}-{secrets.token_hex(2)}"
