"""Our reader of Compose files against the real Docker Compose."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.compose_files import read_project
from tests.compose_generator import projects
from tests.compose_reference import ENVIRONMENT, Rejected, compose_config, model_values

RECORDED = Path(__file__).with_name("recorded") / "compose"
POLICIES = Path(__file__).parents[2] / "policies"
FOLDERS = sorted(RECORDED.glob("projects/*"))
ACCEPTED = sorted([*RECORDED.glob("accepted/*.yaml"), *POLICIES.rglob("*.compose.yaml")])
REJECTED = sorted(RECORDED.glob("rejected/*.yaml"))
# The same examples every time, and no shrinking: each costs a run of Docker Compose.
_BOUNDED = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
STRICTER = sorted(RECORDED.glob("stricter/*.yaml"))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_folder_reads_as_compose_reads_it(folder: Path) -> None:
    """A recorded project has the model that `docker compose config` gives."""
    ours = read_project([folder], ENVIRONMENT).project
    assert model_values(compose_config([], folder=folder)) == model_values(ours)


@pytest.mark.parametrize("file", ACCEPTED, ids=_name)
def test_file_reads_as_compose_reads_it(file: Path) -> None:
    """A file, every policy's example among them, has the model that Compose gives."""
    ours = read_project([file], ENVIRONMENT).project
    assert model_values(compose_config([file])) == model_values(ours)


@pytest.mark.parametrize("file", REJECTED, ids=_name)
def test_what_compose_rejects_is_an_error_with_a_line(file: Path) -> None:
    """A file that Compose does not accept is one line that names file, line, key and value."""
    with pytest.raises(Rejected):
        compose_config([file])
    assert _expected(file) == _error(file)


@pytest.mark.parametrize("file", STRICTER, ids=_name)
def test_what_compose_ignores_silently_is_an_error(file: Path) -> None:
    """Content that Compose accepts but drops without a word is an error."""
    compose_config([file])
    assert _expected(file) == _error(file)


@settings(_BOUNDED, max_examples=25)
@given(content=projects(), override=projects())
def test_generated_projects_read_as_compose_reads_them(
    tmp_path_factory: pytest.TempPathFactory,
    content: dict[str, object],
    override: dict[str, object],
) -> None:
    """A file and an override give the model that Compose gives, or both are rejected."""
    folder = tmp_path_factory.mktemp("generated")
    files = [folder / "compose.yaml", folder / "override.yaml"]
    for file, data in zip(files, (content, override), strict=True):
        file.write_text(yaml.safe_dump(data, sort_keys=False))
    try:
        ours: object = model_values(read_project(files, ENVIRONMENT).project)
    except UsageError:
        ours = Rejected
    try:
        wanted: object = model_values(compose_config(files))
    except Rejected:
        wanted = Rejected
    assert wanted == ours


_VARIABLES = {"SET": "value", "EMPTY": "", "OTHER": "o", "HOME": "/home/me", "PATH": "/bin"}
_PIECES = ("SET", "EMPTY", "UNSET", "${", "}", "$", ":-", "-", ":+", "+", ":?", "?", "x", " ", "{")


@settings(_BOUNDED, max_examples=15)
@given(texts=st.lists(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join), max_size=30))
def test_variables_are_replaced_as_compose_replaces_them(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    """Any mixture of dollar signs, braces and operators means what Compose makes of it."""
    folder = tmp_path_factory.mktemp("variables")
    accepted = {"base": "x"}
    for number, text in enumerate(texts):
        file = folder / "compose.yaml"
        file.write_text(yaml.safe_dump({"services": {"web": {"image": f"a{text}"}}}))
        try:
            accepted[f"s{number}"] = read_project([file], _VARIABLES).project.services["web"].image
        except UsageError:
            accepted[f"s{number}"] = ""
    for number, text in enumerate(texts):
        if not accepted[f"s{number}"]:
            file.write_text(yaml.safe_dump({"services": {"web": {"image": f"a{text}"}}}))
            with pytest.raises(Rejected):
                compose_config([file], _VARIABLES)
    whole = {f"s{n}": {"image": f"a{text}"} for n, text in enumerate(texts) if accepted[f"s{n}"]}
    file = folder / "compose.yaml"
    file.write_text(yaml.safe_dump({"services": {"base": {"image": "x"}, **whole}}))
    read = compose_config([file], _VARIABLES).services
    assert {name: service.image for name, service in read.items()} == {
        name: image for name, image in accepted.items() if image
    }


def _expected(file: Path) -> str:
    """What the comment at a file's end says that the error is."""
    match = re.search(r"^# expect: (.*)\Z", file.read_text().rstrip("\n"), re.MULTILINE)
    return match[1] if match else "a comment `# expect: ...` at the file's end"


def _error(file: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_project([file], ENVIRONMENT)
    return str(caught.value).replace(f"{file.parent}/", "")
