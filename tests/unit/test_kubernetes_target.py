"""What a `k8s` URI means, read from local kubeconfig files only."""

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.uri import parse_target

CONFIG = """
apiVersion: v1
kind: Config
current-context: {current}
contexts:
- name: {name}
  context: {{cluster: {name}-cluster, user: {name}-user, namespace: {name}-home}}
clusters:
- name: {name}-cluster
  cluster: {{server: "https://{name}.example:6443"}}
users:
- name: {name}-user
  user: {{token: secret}}
"""


def write(path: Path, name: str, current: str = "") -> Path:
    """A kubeconfig with one context."""
    path.write_text(CONFIG.format(name=name, current=f'"{current}"'))
    return path


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """KUBECONFIG names one file with the context `dev`, its current one."""
    path = write(tmp_path / "config", "dev", current="dev")
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def target(uri: str) -> KubernetesTarget:
    """The target of a URI, parsed as users' URIs are."""
    parsed = parse_target(uri)
    assert isinstance(parsed, KubernetesTarget)
    return parsed


def message(uri: str) -> str:
    """The error that a URI gives."""
    with pytest.raises(TargetError) as caught:
        parse_target(uri)
    return str(caught.value)


def test_context_by_name(kubeconfig: Path) -> None:
    """A context leads to its cluster's server and to its own namespace."""
    access = target("k8s://dev").access
    assert access is not None
    assert ("dev", "https://dev.example:6443", "dev-home") == (
        access.context,
        access.server,
        access.namespace,
    )


@pytest.mark.parametrize("uri", ["k8s://", "k8s://dev", "k8s://dev/", "k8s://?namespace=a"])
def test_id_is_the_contexts_name(kubeconfig: Path, uri: str) -> None:
    """An empty context is the current one, and the id says its real name."""
    assert "k8s:dev" == target(uri).id


@pytest.mark.parametrize(
    ("context", "uri", "expected"),
    [
        ("arn:aws:eks:eu-west-1:42:cluster/a", None, "k8s:arn:aws:eks:eu-west-1:42:cluster/a"),
        ("a::b", None, "k8s:a:b"),
        (":a:", None, "k8s:a"),
        ("admin@prod", None, "k8s:admin@prod"),
        ("two words", "k8s://two%20words", "k8s:two_words"),
        ("what?", "k8s://what%3F", "k8s:what?"),
        ("\\e[31mred", "k8s://%1B%5B31mred", "k8s:_[31mred"),
    ],
)
def test_odd_context_names(tmp_path: Path, context: str, uri: str | None, expected: str) -> None:
    """Any context can be named; its id is printable and never breaks a node id with `::`."""
    config = CONFIG.replace("name: {name}\n  context", 'name: "{context}"\n  context')
    path = tmp_path / "config"
    path.write_text(config.format(name="n", current="n", context=context))
    assert expected == target(f"{uri or f'k8s://{context}'}?kubeconfig={path}").id


def test_namespaces_sorted_and_unique(kubeconfig: Path) -> None:
    """Namespaces may be repeated and come in any order."""
    uri = "k8s://dev?namespace=shop&namespace=data&namespace=shop"
    assert ("data", "shop") == target(uri).namespaces


@pytest.mark.parametrize("name", ["Shop", "a,b", "../kube-system", "-a", "a" * 64, "a.b"])
def test_namespace_that_can_not_exist(kubeconfig: Path, name: str) -> None:
    """A namespace that the API would refuse is an error, never an empty list."""
    expected = f"k8s://dev?namespace={name}: {name!r} is no namespace name"
    assert message(f"k8s://dev?namespace={name}").startswith(expected)


def test_unknown_context(kubeconfig: Path) -> None:
    """A misspelt context names the nearest one, all others and the file."""
    expected = f"k8s://dve: {kubeconfig}: unknown context 'dve'; did you mean 'dev'? (allowed: dev)"
    assert expected == message("k8s://dve")


def test_unknown_key(kubeconfig: Path) -> None:
    """A misspelt key is an error: `namespaces=` must not judge the whole cluster."""
    expected = (
        "k8s://dev?namespaces=a: unknown key 'namespaces'; did you mean 'namespace'?"
        " (allowed: kubeconfig, namespace, workload)"
    )
    assert expected == message("k8s://dev?namespaces=a")


def test_file_form_is_refused(kubeconfig: Path) -> None:
    """`k8s:dev` is told how to be written."""
    assert "k8s:dev: write k8s://CONTEXT" == message("k8s:dev")


def test_malformed_uri(kubeconfig: Path) -> None:
    """A character that URIs reserve is an error, not a traceback."""
    expected = "k8s://[dev: Invalid IPv6 URL (write special characters as %XX)"
    assert expected == message("k8s://[dev")


def test_no_current_context(tmp_path: Path) -> None:
    """An empty context needs a current one."""
    path = write(tmp_path / "config", "dev")
    uri = f"k8s://?kubeconfig={path}"
    expected = f"{uri}: {path} has no current-context: name one (allowed: dev)"
    assert expected == message(uri)


def test_files_merge_as_kubectl_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of KUBECONFIG's files the first with a value wins; files that are missing are skipped."""
    first = write(tmp_path / "1", "a")
    second = write(tmp_path / "2", "b", current="b")
    third = write(tmp_path / "3", "c", current="c")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path}/none::{second}:{third}")
    assert ["k8s:b", "k8s:a", "k8s:c"] == [target(f"k8s://{name}").id for name in ("", "a", "c")]


def test_kubeconfig_key_wins_over_the_environment(kubeconfig: Path, tmp_path: Path) -> None:
    """`?kubeconfig=` names the only file that is read."""
    other = write(tmp_path / "other", "prod", current="prod")
    assert "k8s:prod" == target(f"k8s://?kubeconfig={other}").id


def test_default_file_is_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without KUBECONFIG the file is ~/.kube/config."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube" / "config", "home", current="home")
    assert "k8s:home" == target("k8s://").id


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named, with what to do."""
    uri = f"k8s://dev?kubeconfig={tmp_path}/none"
    expected = f"{uri}: no kubeconfig at {tmp_path}/none: set KUBECONFIG or add ?kubeconfig=PATH"
    assert expected == message(uri)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("kind: Config\ncontexts: [a}", ":2: not YAML: did not find expected ',' or ']'"),
        ("contexts:\n- name: dev\n  context: {cluster: a\nusers: []\n", ":4: not YAML: "),
        ("", ": not a kubeconfig: Expected `object`, got `null`"),
        ("[]", ": not a kubeconfig: Expected `object`, got `array`"),
        (
            "contexts: [{name: 7}]",
            ": not a kubeconfig: Expected `str`, got `int` - at `$.contexts[0].name`",
        ),
        (
            "contexts: [{name: dev, context: {cluster: x}}]\nclusters: [{name: y}]",
            ": context 'dev': unknown cluster 'x' (allowed: y)",
        ),
        (
            "contexts: [{name: dev, context: {cluster: y}}]\nclusters: [{name: y}]",
            ": context 'dev': cluster 'y' has no server",
        ),
        (
            "contexts: [{name: dev, context: {cluster: y, user: me}}]\n"
            "clusters: [{name: y, cluster: {server: https://y}}]",
            ": context 'dev': unknown user 'me' (allowed: none)",
        ),
    ],
)
def test_broken_kubeconfig(tmp_path: Path, content: str, expected: str) -> None:
    """A broken file is named with the line or key, in one line."""
    path = tmp_path / "config"
    path.write_text(content)
    uri = f"k8s://dev?kubeconfig={path}"
    assert message(uri).startswith(f"{uri}: {path}{expected}")


def test_kubeconfig_that_is_a_folder(tmp_path: Path) -> None:
    """A folder in the place of a file is an error, not a traceback."""
    uri = f"k8s://dev?kubeconfig={tmp_path}"
    assert f"{uri}: {tmp_path}: Is a directory" == message(uri)


def test_in_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a pod the pod's own service account is used."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    parsed = target("k8s+incluster://?namespace=shop")
    assert ("k8s:incluster", None, ("shop",)) == (parsed.id, parsed.access, parsed.namespaces)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "k8s+incluster://",
            "k8s+incluster://: not inside a pod (KUBERNETES_SERVICE_HOST is not set):"
            " write k8s://CONTEXT",
        ),
        (
            "k8s+incluster://dev",
            "k8s+incluster://dev: takes no name: write k8s+incluster://",
        ),
        ("k8s+incluster:", "k8s+incluster:: write k8s+incluster://"),
        (
            "k8s+incluster://?kubeconfig=a",
            "k8s+incluster://?kubeconfig=a: unknown key 'kubeconfig'"
            " (allowed: namespace, workload)",
        ),
    ],
)
def test_in_cluster_misuse(monkeypatch: pytest.MonkeyPatch, uri: str, expected: str) -> None:
    """Outside of a pod, or with a context, in-cluster access is an error."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert expected == message(uri)


def test_parsing_does_not_import_the_client(kubeconfig: Path) -> None:
    """Parsing a URI is cheap: the official client is imported when a cluster is read."""
    program = (
        "import sys; from pytest_containerpolicy.targets.uri import parse_target;"
        "parse_target('k8s://dev'); print(*{'kubernetes', 'urllib3'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ("", "\n") == (result.stderr, result.stdout)
