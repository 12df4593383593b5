"""Reading a daemon that misbehaves: gaps and clear errors, never absence."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.targets.inventory import Inventory, Unreadable
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.loopback import Answer, Loopback, Request, loopback

QUICK = Timeouts(connect=1, read=0.5)
Responder = Callable[[Request], Answer]
API = "/v1.51"
SUMMARY = [{"Id": "a1", "Names": ["/web"]}, {"Id": "b2", "Names": ["/db"]}]


def answer(content: object, status: int = 200) -> Answer:
    """An answer of the API."""
    return Answer(json.dumps(content).encode(), status)


def a_container(name: str, **config: object) -> Answer:
    """What inspecting a container answers."""
    config = {"Image": f"{name}:1", "Env": ["PASSWORD=hunter2"], "Cmd": ["hunter2"], **config}
    return answer({"Id": name, "Name": f"/{name}", "Image": f"sha256:{name}", "Config": config})


USUAL: Mapping[str, Answer] = {
    "/version": answer({"ApiVersion": "1.51", "MinAPIVersion": "1.44"}),
    f"{API}/containers/json": answer(SUMMARY),
    f"{API}/containers/a1/json": a_container("web"),
    f"{API}/containers/b2/json": a_container("db"),
    f"{API}/images/sha256:web/json": answer({"Id": "sha256:web"}),
    f"{API}/images/sha256:db/json": answer({"Id": "sha256:db"}),
    f"{API}/volumes": answer({"Volumes": None}),
    f"{API}/networks": answer([]),
    f"{API}/info": answer({"Name": "lab", "ServerVersion": "28.5.0"}),
}


def daemon(answers: Mapping[str, Answer] | None = None) -> Responder:
    """A daemon with two containers, but for the paths given."""
    known = {**USUAL, **(answers or {})}
    return lambda request: known.get(request.path, answer({"message": "no such thing"}, 404))


def read(server: Loopback, scheme: str = "engine") -> Inventory:
    """The inventory of a daemon."""
    return parse_target(server.url.replace("http", f"{scheme}+tcp")).read(QUICK)


def names(inventory: Inventory) -> list[str]:
    """The containers that were read."""
    return [container.name for container in inventory.documents("containers")]


def refusal(server: Loopback, scheme: str = "engine") -> str:
    """Why a daemon can't be read."""
    with pytest.raises(Unreachable) as error:
        read(server, scheme)
    return str(error.value)


def test_reading() -> None:
    """Everything is read once, in the newest version that the daemon speaks."""
    with loopback(daemon()) as server:
        inventory = read(server)

    assert ["/web", "/db"] == names(inventory)
    assert [] == [*inventory.header.unreadable]
    assert sorted(USUAL) == sorted(request.path for request in server.requests)
    assert ("28.5.0", "1.51") == (
        inventory.header.version,
        inventory.documents("info")[0].api_version,
    )


def test_stopped_containers_are_listed() -> None:
    """The list asks for all containers, not only for those that run."""
    with loopback(daemon()) as server:
        read(server)

    assert "1" == server.asked(f"{API}/containers/json")[0].query["all"]


def test_nothing_secret_is_kept() -> None:
    """Environment values, commands, foreign labels and health check commands are not kept."""
    secrets = {"Labels": {"token": "hunter2"}, "Healthcheck": {"Test": ["CMD", "hunter2"]}}
    with loopback(daemon({f"{API}/containers/a1/json": a_container("web", **secrets)})) as server:
        content = read(server).to_bytes()

    assert b"hunter2" not in content
    assert b'"Test":["CMD"]' in content


def test_who_is_not_judged() -> None:
    """The notes count the containers that other targets judge, and name those."""
    shop = {"Labels": {"com.docker.compose.project": "shop"}}
    pod = {"Labels": {"io.kubernetes.pod.name": "web-0"}}
    answers = {
        f"{API}/containers/a1/json": a_container("web", **shop),
        f"{API}/containers/b2/json": a_container("db", **pod),
    }
    with loopback(daemon(answers)) as server:
        notes = read(server).header.notes

    assert (
        "not judged here: 1 container of Compose project shop: give compose://shop",
        "not judged here: 1 container of Kubernetes pods: give k8s://",
    ) == notes[1:]


def test_container_that_is_gone() -> None:
    """A container that ends between the list and the question was there no more."""
    gone = answer({"message": "No such container: a1"}, 404)
    with loopback(daemon({f"{API}/containers/a1/json": gone})) as server:
        inventory = read(server)

    assert (["/db"], ()) == (names(inventory), inventory.header.unreadable)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("containers", f"{API}/containers/json"),
        ("containers", f"{API}/containers/a1/json"),
        ("images", f"{API}/images/sha256:web/json"),
        ("volumes", f"{API}/volumes"),
        ("networks", f"{API}/networks"),
        ("info", f"{API}/info"),
    ],
)
def test_forbidden(kind: str, path: str) -> None:
    """What an authorization plugin refuses is a gap of its kind, and names the right."""
    denied = answer({"message": "authorization denied by plugin"}, 403)
    with loopback(daemon({path: denied})) as server:
        (gap,) = read(server).header.unreadable

    place = path.removeprefix(API)
    assert gap == Unreadable(
        kind,
        f"GET {place}: authorization denied by plugin (403)",
        needs=f"the right to GET {place}",
    )


@pytest.mark.parametrize("kind", ["volumes", "networks", "info"])
def test_missing_list(kind: str) -> None:
    """A whole list that is not found - a proxy that hides it - is a gap, not an empty list."""
    hidden = answer({"message": "page not found"}, 404)
    with loopback(daemon({f"{API}/{kind}": hidden})) as server:
        (gap,) = read(server).header.unreadable

    assert Unreadable(kind, f"GET /{kind}: page not found (404)") == gap


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (answer({"message": "server is busy"}, 500), "server is busy (500)"),
        (Answer(b"<html>proxy</html>", 502), "<html>proxy</html> (502)"),
        (Answer(b'{"Id": "a1", "Name": 7}'), "an answer that is not understood"),
        (Answer(b"[]"), "an answer that is not understood"),
        (Answer(b'{"Id": "a1", "Name": "/web"}', cut=9), "incomplete"),
    ],
)
def test_broken_answer(broken: Answer, reason: str) -> None:
    """A container whose answer is broken is a gap, the other one is read."""
    with loopback(daemon({f"{API}/containers/a1/json": broken})) as server:
        inventory = read(server)
        (gap,) = inventory.header.unreadable

    assert ["/db"] == names(inventory)
    assert ("containers", True) == (gap.kind, reason in gap.reason.lower() or reason in gap.reason)


def test_hanging_container() -> None:
    """A container that the daemon never answers for is a gap after the read timeout."""
    release = threading.Event()
    usual = daemon()

    def respond(request: Request) -> Answer:
        if request.path.endswith("/a1/json"):
            release.wait(5)
        return usual(request)

    with loopback(respond) as server:
        inventory = read(server)
        release.set()
    (gap,) = inventory.header.unreadable

    assert (["/db"], "GET /containers/a1/json: no answer within 0.5 s") == (
        names(inventory),
        gap.reason,
    )


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        (answer({"ApiVersion": "1.40"}), "speaks API 1.40, 1.41 (Docker 20.10) is needed"),
        (answer({"ApiVersion": "new"}), "speaks API new, 1.41 (Docker 20.10) is needed"),
        (answer({}), "speaks API (none)"),
        (Answer(b"<html></html>"), "what listens there is not a Docker daemon"),
        (answer({"message": "not you"}, 403), "not you (403)"),
        (
            Answer(b"Client sent an HTTP request to an HTTPS server.\n", 400),
            "it does not speak plain HTTP: for TLS add ?cert_path=FOLDER",
        ),
    ],
)
def test_no_daemon(version: Answer, complaint: str) -> None:
    """What does not speak the API is unreachable, in one line with the address."""
    with loopback(daemon({"/version": version})) as server:
        message = refusal(server)

    assert complaint in message
    assert server.url.replace("http", "tcp") in message
    assert "\n" not in message


def test_unix_socket_that_never_answers(tmp_path: Path) -> None:
    """A daemon that takes the connection and stays silent is unreachable after the timeout."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(Unreachable, match=r"no answer within 0\.5 s"):
            parse_target(f"engine+unix://{path}").read(QUICK)


def test_unix_socket_without_daemon(tmp_path: Path) -> None:
    """A socket that a dead daemon left behind says so."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))

    with pytest.raises(Unreachable, match=f"nothing listens on {path}: start the daemon"):
        parse_target(f"engine+unix://{path}").read(QUICK)


def test_ssh_without_paramiko(monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh without the library for it names what to install."""
    import docker.api.client

    monkeypatch.delattr(docker.api.client, "SSHHTTPAdapter", raising=False)
    with pytest.raises(Unreachable, match=r"pip install 'pytest-containerpolicy\[ssh\]'"):
        parse_target("engine+ssh://ci@127.0.0.1:1").read(QUICK)


@contextmanager
def tls_server() -> Iterator[int]:
    """A port that wants TLS but has no certificate to show."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def serve() -> None:
            try:
                connection, _ = listener.accept()
                context.wrap_socket(connection, server_side=True)
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def test_tls_that_fails(tmp_path: Path) -> None:
    """A failing handshake is named as TLS, with what to check."""
    import certifi

    (tmp_path / "ca.pem").write_bytes(Path(certifi.where()).read_bytes())
    with tls_server() as port, pytest.raises(Unreachable, match=r"TLS: .*check the CA"):
        parse_target(f"engine+tcp://127.0.0.1:{port}?cert_path={tmp_path}").read(QUICK)


@pytest.mark.parametrize(
    ("swarm", "complaint"),
    [
        ({"LocalNodeState": "inactive"}, "is not part of a Swarm"),
        ({"LocalNodeState": "locked"}, "is locked: run `docker swarm unlock` on it"),
        ({"LocalNodeState": "pending"}, "is pending"),
        (
            {
                "LocalNodeState": "active",
                "ControlAvailable": False,
                "RemoteManagers": [{"Addr": "10.0.0.1:2377"}],
            },
            "is a worker, and only a manager knows the services: name one of 10.0.0.1:2377",
        ),
    ],
)
def test_not_a_manager(swarm: dict[str, object], complaint: str) -> None:
    """A Swarm can only be read from one of its managers."""
    info = answer({"Name": "lab", "Swarm": swarm})
    with loopback(daemon({f"{API}/info": info})) as server:
        assert complaint in refusal(server, "swarm")


def test_swarm_without_info() -> None:
    """Whether a daemon is a manager is not guessed when it does not say."""
    denied = answer({"message": "authorization denied by plugin"}, 403)
    with loopback(daemon({f"{API}/info": denied})) as server:
        message = refusal(server, "swarm")

    assert "authorization denied by plugin (403): needs the right to GET /info" in message


def test_swarm_without_leader() -> None:
    """A Swarm that lost its quorum leaves gaps, not an empty Swarm."""
    lost = answer({"message": "The swarm does not have a leader."}, 503)
    active = {"LocalNodeState": "active", "ControlAvailable": True}
    paths = [f"{API}/{kind}" for kind in ("services", "nodes", "swarm")]
    answers = {**dict.fromkeys(paths, lost), f"{API}/info": answer({"Swarm": active})}
    with loopback(daemon(answers)) as server:
        inventory = read(server, "swarm")

    gaps = {gap.kind for gap in inventory.header.unreadable}
    assert {"services", "nodes", "swarm"} == gaps
