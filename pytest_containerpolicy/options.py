"""Command line, environment and ini file as one frozen Settings.

Precedence: option, then environment, then ini. Nothing here is imported by an idle pytest but
the option table.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.vocabulary import (
    LEVELS,
    PROFILES,
    SEVERITIES,
    Level,
    Profile,
    Severity,
)

_ON_PROBLEM = ("error", "skip")

# option, ini type, choices, help. The ini key is the option's name with "containerpolicy_".
_OPTIONS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("target", "linelist", (), "judge this environment, given by a URI such as k8s://CONTEXT, "
     "engine://, swarm://, compose:FILE, manifests:PATH, snapshot:FILE (may be repeated)"),
    ("pack", "linelist", (), "add a pack of policies: a folder or an installed one's name"),
    ("select", "linelist", (), "only policies whose id matches this glob, or this challenge"),
    ("ignore", "linelist", (), "not the policies whose id matches this glob, or this challenge"),
    ("waivers", "linelist", (), "a file of accepted findings"),
    ("min-severity", "string", SEVERITIES, "only policies of this severity or higher"),
    ("profile", "string", PROFILES, "how strict: baseline (default), strict or audit"),
    ("level", "string", LEVELS, "what the run may do: observe (default), probe or disrupt"),
    ("unreachable", "string", _ON_PROBLEM, "a target that can't be read: error (default) or skip"),
    ("unreadable", "string", _ON_PROBLEM, "what may not be looked at: error (default) or skip"),
    ("prober-image", "string", (), "an image with python3 for probers (default python:3-alpine)"),
    ("url", "linelist", (), "[NAMESPACE/][KIND/]NAME=URL: measure what clients of this workload of "
     "the only live target get at this URL (may be repeated)"),
    ("timeout", "string", (), "seconds to wait for an answer (default 30)"),
    ("connect-timeout", "string", (), "seconds to wait for a connection (default 3)"),
)  # fmt: skip
_ENVIRONMENT = {"target": "CONTAINERPOLICY_TARGETS", "pack": "CONTAINERPOLICY_PACKS"}
_PLURAL_INI = {"target": "targets", "pack": "packs"}


@dataclass(frozen=True)
class Settings:
    """What one run was asked for; `sources` says where each value came from."""

    targets: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    waivers: tuple[Path, ...] = ()
    min_severity: Severity = "info"
    profile: Profile = "baseline"
    level: Level = "observe"
    skip_unreachable: bool = False
    skip_unreadable: bool = False
    prober_image: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False
    timeout: float = 30.0
    connect_timeout: float = 3.0
    selftest: bool = False
    sources: dict[str, str] = field(default_factory=dict)


RUN_PLUGIN = "containerpolicy-run"
SETTINGS = pytest.StashKey[Settings]()


def add_options(parser: pytest.Parser) -> None:
    """Register every option and ini key."""
    group = parser.getgroup("containerpolicy", "container policies")
    group.addoption(
        "--containerpolicy",
        action="store_true",
        help="judge the targets of the environment or ini file",
    )
    for name, kind, choices, text in _OPTIONS:
        action = "append" if kind == "linelist" else "store"
        group.addoption(
            f"--cp-{name}",
            action=action,
            choices=choices or None,
            metavar=_metavar(name),
            help=text,
        )
        parser.addini(ini_key(name), text, type=kind, default=None)  # type: ignore[arg-type]
    group.addoption("--cp-list", action="store_true", help="list the policies and stop")
    group.addoption(
        "--cp-selftest",
        action="store_true",
        help="judge the packs' own examples instead of targets",
    )
    group.addoption(
        "--cp-dry-run",
        action="store_true",
        help="list what experiments would do, and stop",
    )
    group.addoption(
        "--cp-keep", action="store_true", help="keep what fixtures made for a test that failed"
    )


def ini_key(name: str) -> str:
    """The ini key of an option: `--cp-min-severity` is `containerpolicy_min_severity`."""
    return f"containerpolicy_{_PLURAL_INI.get(name, name).replace('-', '_')}"


def is_active(config: pytest.Config) -> bool:
    """Whether this run was asked to judge anything."""
    option = config.option
    return bool(option.containerpolicy or option.cp_target or option.cp_selftest or option.cp_list)


def settings_of(config: pytest.Config) -> Settings:
    """The settings of a run, made once. Raises `pytest.UsageError`."""
    if SETTINGS not in config.stash:
        config.stash[SETTINGS] = make_settings(config)
    return config.stash[SETTINGS]


def make_settings(config: pytest.Config) -> Settings:
    """Settings of a run. Raises `pytest.UsageError` for a value that is not allowed."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, kind, choices, _ in _OPTIONS:
        value, source = _value(config, name)
        if value in (None, [], ""):
            continue
        if choices and value not in choices:
            raise pytest.UsageError(
                f"{ini_key(name)}: {value!r} is not allowed ({', '.join(choices)})"
            )
        values[name] = tuple(value) if kind == "linelist" else value
        sources[name] = source
    return Settings(
        targets=values.get("target", ()),
        packs=values.get("pack", ()),
        select=values.get("select", ()),
        ignore=values.get("ignore", ()),
        waivers=tuple(config.invocation_params.dir / name for name in values.get("waivers", ())),
        min_severity=values.get("min-severity", "info"),
        profile=values.get("profile", "baseline"),
        level=values.get("level", "observe"),
        skip_unreachable=values.get("unreachable") == "skip",
        skip_unreadable=values.get("unreadable") == "skip",
        prober_image=values.get("prober-image", ""),
        urls=dict(map(_workload_url, values.get("url", ()))),
        dry_run=config.option.cp_dry_run,
        timeout=_seconds("timeout", values.get("timeout", 30.0)),
        connect_timeout=_seconds("connect-timeout", values.get("connect-timeout", 3.0)),
        selftest=config.option.cp_selftest,
        sources=sources,
    )


def _value(config: pytest.Config, name: str) -> tuple[Any, str]:
    option = getattr(config.option, f"cp_{name.replace('-', '_')}")
    if option:
        return option, "command line"
    variable = _ENVIRONMENT.get(name)
    if variable and os.environ.get(variable, "").strip():
        return os.environ[variable].split(), f"environment {variable}"
    return config.getini(ini_key(name)), f"ini {ini_key(name)}"


def _workload_url(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise pytest.UsageError(
            f"--cp-url: {text!r} is not WORKLOAD=URL, such as shop/web=https://shop.example/"
        )
    return name, url


def _seconds(name: str, value: str | float) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise pytest.UsageError(f"--cp-{name}: {value!r} is not a number of seconds above 0")
    return seconds


def _metavar(name: str) -> str | None:
    return {
        "target": "URI",
        "pack": "PACK",
        "select": "GLOB",
        "ignore": "GLOB",
        "waivers": "FILE",
        "prober-image": "IMAGE",
        "url": "WORKLOAD=URL",
        "timeout": "SECONDS",
        "connect-timeout": "SECONDS",
    }.get(name)
