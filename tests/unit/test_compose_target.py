"""`compose:` targets: which files, variables, profiles and names apply, and what is recorded."""

from pathlib import Path

import pytest

from pytest_containerpolicy.errors import TargetError, UsageError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.compose_files import read_project
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target, parse_targets
from pytest_containerpolicy.targets.yaml_files import locate

WEB = "services: {web: {image: nginx}}\n"


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("compose:shop", "compose:shop"),
        ("compose:shop/compose.yaml", "compose:shop"),
        ("compose:shop/docker-compose.yml", "compose:shop"),
        ("compose:shop/compose.prod.yaml", "compose:shop/compose.prod.yaml"),
        ("compose:a/compose.yaml,a/compose.prod.yaml", "compose:a,a/compose.prod.yaml"),
        ("compose://shop?host=unix:///run/d.sock", "compose://shop@/run/d.sock"),
    ],
)
def test_id_is_the_path_without_a_default_name(uri: str, name: str) -> None:
    """The id is told from the URI alone, and two files of a folder have different ones."""
    assert name == parse_target(uri).id


def test_id_of_the_current_folder_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compose:.` and `compose:compose.yaml` are the project of the current folder."""
    monkeypatch.chdir(_write(tmp_path / "shop"))
    assert ["compose:shop"] * 2 == [parse_target(f"compose:{p}").id for p in (".", "compose.yaml")]


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("compose:", "write compose:PATH[,PATH] or compose://PROJECT"),
        ("compose:a,", "write compose:PATH[,PATH] or compose://PROJECT"),
        ("compose://", "write compose://PROJECT, or compose:PATH for files"),
        ("compose://shop/x", "write compose://PROJECT, or compose:PATH for files"),
        (
            "compose://shop?hots=x",
            "unknown key 'hots'; did you mean 'host'?"
            " (allowed: cert_path, context, host, workload)",
        ),
        ("compose://shop?host=unix:///x&context=y", "give host or context, not both"),
        ("compose://shop?cert_path=x", "cert_path goes with host=tcp://HOST:PORT"),
        (
            "compose://shop?host=here",
            "host 'here' is not unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST",
        ),
    ],
)
def test_impossible_uri_is_an_error(uri: str, problem: str) -> None:
    """A URI that can't be meant is one line that says what to write."""
    with pytest.raises(TargetError) as caught:
        parse_target(uri)
    assert f"{uri}: {problem}" == str(caught.value)


def test_target_given_twice_is_an_error(tmp_path: Path) -> None:
    """The folder and its default file are the same target."""
    with pytest.raises(TargetError, match="the same target as"):
        parse_targets([f"compose:{tmp_path}", f"compose:{tmp_path}/compose.yaml"])


def test_default_file_and_its_override_are_read(tmp_path: Path) -> None:
    """A folder means the files that Compose finds there; what it leaves out is noted."""
    folder = _write(
        tmp_path,
        compose__yml=WEB,
        **{"docker-compose__yml": "services: {other: {image: x}}\n"},
        compose__override__yaml="services: {web: {user: me}}\n",
    )
    reading = read_project([folder], {})
    assert ["web"] == list(reading.project.services)
    assert "me" == reading.project.services["web"].user
    note = f"{folder}/compose.yml is read, as Compose does, and not docker-compose.yml"
    assert (note,) == reading.notes


def test_compose_file_variable_names_the_files(tmp_path: Path) -> None:
    """COMPOSE_FILE in a folder's .env replaces the default names."""
    _write(tmp_path, __env="COMPOSE_FILE=a.yaml:b.yaml\n", compose__yaml="services: {}\n")
    _write(tmp_path, a__yaml=WEB, b__yaml="services: {web: {user: me}}\n")
    reading = read_project([tmp_path], {})
    assert "me" == reading.project.services["web"].user
    assert ("COMPOSE_FILE names a.yaml:b.yaml",) == reading.notes


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("missing.yaml", "missing.yaml: no such file or folder"),
        (".", ": has none of compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml"),
    ],
)
def test_missing_file_is_an_error(tmp_path: Path, path: str, problem: str) -> None:
    """A path that leads nowhere is named, and what would be read there."""
    with pytest.raises(UsageError) as caught:
        read_project([tmp_path / path], {})
    assert str(caught.value).startswith(str(tmp_path))
    assert str(caught.value).endswith(problem)


@pytest.mark.parametrize(
    ("text", "environment", "name"),
    [
        (WEB, {}, "my-shop"),
        (WEB + "name: Other.Name\n", {}, "othername"),
        (WEB + "name: ${STAGE:-dev}-shop\n", {"STAGE": "prod"}, "prod-shop"),
        (WEB + "name: other\n", {"COMPOSE_PROJECT_NAME": "outside"}, "outside"),
    ],
)
def test_project_name(tmp_path: Path, text: str, environment: dict[str, str], name: str) -> None:
    """The environment's name wins over the file's, that over the folder's."""
    folder = _write(tmp_path / "My-Shop", compose__yaml=text)
    assert name == read_project([folder], environment).project.name


def test_impossible_project_name_is_an_error(tmp_path: Path) -> None:
    """COMPOSE_PROJECT_NAME is not mended, as Compose does not."""
    with pytest.raises(UsageError, match="COMPOSE_PROJECT_NAME=My Shop: a project's name has"):
        read_project([_write(tmp_path, compose__yaml=WEB)], {"COMPOSE_PROJECT_NAME": "My Shop"})


def test_what_a_reader_should_know_is_noted(tmp_path: Path) -> None:
    """Blank variables, inactive profiles, providers and built images are in the notes."""
    text = """
services:
  web: {image: "nginx:${TAG}"}
  debug: {image: x, profiles: [debug, tools]}
  model: {provider: {type: model}}
  own: {build: .}
"""
    reading = read_project([_write(tmp_path, compose__yaml=text)], {})
    assert (
        "not set, taken as blank: TAG",
        "service debug is left out: profile debug or tools is not active",
        "service model is not judged: a provider runs it, not a container",
        "service own is built here: what its image declares is not known",
    ) == reading.notes


def test_objects_know_their_file_and_line(tmp_path: Path) -> None:
    """A service's line is that of its name in the file that declares it first."""
    folder = _write(
        tmp_path,
        compose__yaml="include: [other.yaml]\nservices:\n  web:\n    image: x\n",
        other__yaml="services:\n\n  db: {image: y}\n",
        compose__override__yaml="services:\n  # one more\n  web: {user: z}\n",
    )
    model = build_model(parse_target(f"compose:{folder}").read(Timeouts()))
    assert {
        "web": (f"{folder}/compose.yaml", 3),
        "db": (f"{folder}/other.yaml", 3),
    } == {w.name: (w.ref.file, w.ref.line) for w in model.all(Workload)}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("services.web.deploy.resources.limits.memory", 7),
        ("services.web.deploy.replicas", 5),
        ("services.web.logging.options.max-size", 3),
        ("services.db.image", 9),
    ],
)
def test_field_of_a_service_is_located(tmp_path: Path, path: str, line: int) -> None:
    """A finding's line is that of the field, or of what it would have to be added to."""
    text = """\
services:

  web:
    image: x
    deploy:
      resources:
        limits: {memory: 1g}
  db:
    image: y
"""
    file = _write(tmp_path, compose__yaml=text) / "compose.yaml"
    model = build_model(parse_target(f"compose:{file}").read(Timeouts()))
    service = next(w for w in model.all(Workload) if w.name == path.split(".")[1])
    assert line == locate(service.ref.file, service.ref.line, path)


def test_secrets_are_not_kept(tmp_path: Path) -> None:
    """Environment, commands, labels, build arguments and driver options never reach a snapshot."""
    text = """
services:
  web:
    image: x
    environment: {A: s3cret}
    command: --password s3cret
    labels: {a: s3cret}
    healthcheck: {test: curl -u s3cret localhost}
    build: {context: ., args: {A: s3cret}}
    logging: {driver: splunk, options: {splunk-token: s3cret}}
    volumes: ["share:/share"]
    pre_stop: [{command: echo s3cret}]
volumes:
  share: {driver_opts: {type: cifs, o: password=s3cret, device: //host/share}}
"""
    target = parse_target(f"compose:{_write(tmp_path, compose__yaml=text)}")
    content = target.read(Timeouts()).to_bytes()
    assert b"s3cret" not in content


def test_snapshot_gives_the_same_model(tmp_path: Path) -> None:
    """What is read from a snapshot is what was written into it."""
    inventory = parse_target(f"compose:{_write(tmp_path, compose__yaml=WEB)}").read(Timeouts())
    replayed = Inventory.from_bytes(inventory.to_bytes(), "snapshot")
    assert inventory.documents("projects") == replayed.documents("projects")
    assert not replayed.header.live


@pytest.mark.parametrize("key", ["environment", "command", "labels"])
def test_malformed_variable_does_not_show_secrets(tmp_path: Path, key: str) -> None:
    """A broken `${` is reported without the text where the text may be secret."""
    text = f"services:\n  web:\n    image: x\n    {key}: ['A=s3cret${{']\n"
    with pytest.raises(UsageError) as caught:
        read_project([_write(tmp_path, compose__yaml=text)], {})
    assert (
        f"{tmp_path}/compose.yaml:4: services.web.{key}[0]:"
        " invalid interpolation: write ${NAME}, or $$ for a dollar sign"
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('ports: [{target: 80, published: "7s"}]', "ports[0].published: '7s'"),
        ('expose: [80, "web/tcp"]', "expose[1]: 'web/tcp'"),
    ],
)
def test_port_that_is_none_is_an_error(tmp_path: Path, line: str, where: str) -> None:
    """`docker compose config` passes it on, and `up` fails."""
    text = f"services:\n  web:\n    image: x\n    {line}\n"
    with pytest.raises(UsageError) as caught:
        read_project([_write(tmp_path, compose__yaml=text)], {})
    expected = f"services.web.{where} is neither a port nor a range of ports"
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A B=x\n", "line 1: a variable name can't contain a space"),
        ("# fine\nA=1\nB='open\n", "line 3: unterminated quoted value"),
        ("A*=1\n", "line 1: unexpected character '*' in variable name"),
        ("A=${B\n", "invalid interpolation: write ${NAME}, or $$ for a dollar sign"),
    ],
)
def test_broken_env_file_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    """What Compose can't read of a .env file is named with its line."""
    folder = _write(tmp_path, compose__yaml=WEB, __env=text)
    with pytest.raises(UsageError) as caught:
        read_project([folder], {})
    assert f"{folder}/.env: {problem}" == str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{name}: &{name} [{', '.join([f'*{previous}'] * 9)}]\n"
            for previous, name in zip("abcdefg", "bcdefgh", strict=True)
        ),
        "[" * 5000,
        "services: {web: {image: x}}\n" + "#" * (17 << 20),
        "services: \x00",
        "\xff\xfe",
    ],
    ids=["bomb", "nested", "huge", "control", "binary"],
)
def test_hostile_file_is_an_error(tmp_path: Path, text: str) -> None:
    """Bombs, deep nesting, huge files and bytes that are no text end in one line."""
    (tmp_path / "compose.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        read_project([tmp_path], {})
    assert str(caught.value).startswith(f"{tmp_path}/compose.yaml")
    assert "\n" not in str(caught.value)
