"""Which workload a URL that the user gave is the URL of, and when that is not said."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_containerpolicy.errors import CannotLook, UsageError
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.laboratories import Laboratories
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.options import Settings
from pytest_containerpolicy.readings import Readings
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from pytest_containerpolicy.vocabulary import Level
from tests.kubernetes_models import controller, model_of_text
from tests.loopback import write_kubeconfig

URL = "https://shop.example/"
SHOP, TEST = "&namespace=shop", "&namespace=shop-test"
WEB = controller("Deployment", "")
IN_TEST = WEB.replace("namespace: shop", "namespace: shop-test")
SET = controller("StatefulSet", "")


def url_of(folder: Path, name: str, query: str, *documents: str) -> str:
    """The URL of the first workload where that name is given one."""
    config = write_kubeconfig(folder / "config", "https://127.0.0.1:9", {})
    target = parse_target(f"k8s://lab?kubeconfig={config}{query}")
    lab = open_lab(target, Timeouts(), LabOptions(urls={name: URL}))
    return lab.url_of(model_of_text("\n---\n".join(documents)).all(Workload)[0])


@pytest.mark.parametrize(
    "name",
    ["web", "shop/web", "Deployment/web", "deployment/web", "shop/deployment/web"],
)
def test_names(tmp_path: Path, name: str) -> None:
    """A workload is called by its name, with its kind and namespace or without."""
    assert URL == url_of(tmp_path, name, SHOP, WEB)


@pytest.mark.parametrize("name", ["api", "shop-test/web", "StatefulSet/web", "shop/shop/web"])
def test_names_of_others(tmp_path: Path, name: str) -> None:
    """What leads to another workload leads to none of this one."""
    assert "" == url_of(tmp_path, name, SHOP, WEB, SET)


@pytest.mark.parametrize("name", ["web", "Deployment/web"])
@pytest.mark.parametrize(
    ("query", "documents"),
    [(SHOP + TEST, (WEB, IN_TEST)), (SHOP + TEST, (WEB,)), (TEST, (WEB,)), ("", (WEB,))],
)
def test_of_which_namespace(
    tmp_path: Path, name: str, query: str, documents: tuple[str, ...]
) -> None:
    """A name without a namespace is enough only where the target names just that one."""
    with pytest.raises(CannotLook, match=rf"--cp-url {name}=URL .* write shop/Deployment/web=URL"):
        url_of(tmp_path, name, query, *documents)


@pytest.mark.parametrize("name", ["web", "shop/web"])
def test_of_which_kind(tmp_path: Path, name: str) -> None:
    """Several workloads of one name in a namespace have no URL until the kind is given."""
    with pytest.raises(CannotLook, match="may mean StatefulSet shop/web: write shop/Deployment/"):
        url_of(tmp_path, name, SHOP, WEB, SET)
    assert URL == url_of(tmp_path, "shop/Deployment/web", SHOP + TEST, WEB, SET, IN_TEST)


def test_the_most_exact_name(tmp_path: Path) -> None:
    """Who gives each namespace's workload a URL may give the plain name another one."""
    config = write_kubeconfig(tmp_path / "config", "https://127.0.0.1:9", {})
    target = parse_target(f"k8s://lab?kubeconfig={config}{SHOP}{TEST}")
    urls = {"web": "https://other.example/", "shop/web": URL}
    lab = open_lab(target, Timeouts(), LabOptions(urls=urls))
    shop, test = model_of_text(f"{WEB}\n---\n{IN_TEST}").all(Workload)

    assert URL == lab.url_of(shop)
    with pytest.raises(CannotLook, match="write shop-test/Deployment/web=URL"):
        lab.url_of(test)


@pytest.mark.parametrize("level", ["probe", "disrupt"])
def test_several_targets(level: Level) -> None:
    """A URL of one target's workload is not asked while another target's is restarted."""
    targets = ("engine+unix:///a.sock", "engine+unix:///b.sock")
    settings = Settings(targets=targets, level=level, urls={"web": URL})
    readings = Readings(list(map(parse_target, targets)), Timeouts())

    with pytest.raises(UsageError, match=r"--cp-url: allowed with one live target, here are 2 \("):
        Laboratories(settings, readings, print)


@pytest.mark.parametrize(
    ("level", "targets"),
    [
        ("disrupt", ("engine+unix:///a.sock", "compose:compose.yaml")),
        ("observe", ("engine+unix:///a.sock", "engine+unix:///b.sock")),
    ],
)
def test_targets_that_may_be_more(level: Level, targets: tuple[str, ...]) -> None:
    """Files are not measured, and a run that only reads asks nobody."""
    settings = Settings(targets=targets, level=level, urls={"web": URL})

    Laboratories(settings, Readings(list(map(parse_target, targets)), Timeouts()), print)
