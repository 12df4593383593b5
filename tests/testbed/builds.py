"""Build each pinned module once and keep its binaries, keyed by everything they are made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from tests.testbed.gotool import go, go_environment
from tests.testbed.layout import cache_root
from tests.testbed.recipes import RECIPES, Recipe
from tests.testbed.shell import TestbedError, run, say
from tests.testbed.system import system_packages

HERE = Path(__file__).parent
SPARE_DISK = 10 * 2**30
UNUSED_AFTER = 14 * 24 * 3600
KEY_LENGTH = 16


def binary(name: str) -> Path:
    """The path of a built program such as `kubectl`; built first when it is not there yet."""
    for recipe in RECIPES:
        if name in recipe.programs:
            return build(recipe) / name
    raise TestbedError(f"no recipe builds {name}")


def folder_of(module: str) -> Path:
    """The folder with a module's binaries."""
    return build(next(recipe for recipe in RECIPES if recipe.module == module))


def build_all() -> float:
    """Build whatever is missing; the seconds it took."""
    started = time.monotonic()
    for recipe in RECIPES:
        build(recipe)
    return time.monotonic() - started


def build(recipe: Recipe) -> Path:
    """The module's binaries, from the cache when they were built from the same files before."""
    source = _source(recipe)
    parts = [repr(recipe).encode(), *(file.read_bytes() for file in _inputs(source))]
    key = digest(*parts, *(asset.encode() for asset in recipe.assets))
    return cached(recipe.module, key, lambda folder: _compile(recipe, source, folder))


def cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """A folder made once per key; it appears whole or, when making it fails, not at all."""
    ready = cache_root() / f"{name}-{key}"
    if ready.is_dir():
        os.utime(ready)
        return ready
    cache_root().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_root() / f".{name}.lock"):
        if not ready.is_dir():
            _make(name, ready, make)
    return ready


def digest(*parts: bytes) -> str:
    """A short name for exactly this content."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:KEY_LENGTH]


def _make(name: str, ready: Path, make: Callable[[Path], None]) -> None:
    draft = cache_root() / f".making-{name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    started = time.monotonic()
    make(draft)
    draft.rename(ready)
    _forget_unused(name)
    say(f"built {name} in {time.monotonic() - started:.1f} s")


def _forget_unused(name: str) -> None:
    for old in cache_root().glob(f"{name}-" + "[0-9a-f]" * KEY_LENGTH):
        if time.time() - old.stat().st_mtime > UNUSED_AFTER:
            shutil.rmtree(old, ignore_errors=True)


def _compile(recipe: Recipe, source: Path, folder: Path) -> None:
    if recipe.static_cgo:
        system_packages()
    argv = [str(go()), "build", "-mod=readonly", "-trimpath", "-ldflags", recipe.ldflags]
    argv += ["-tags", recipe.tags, "-o", f"{folder}/", *recipe.packages]
    run(*argv, env=go_environment(recipe.static_cgo), cwd=source, timeout=3600)
    for asset in recipe.assets:
        _copy_asset(asset, source, folder)
    if shutil.disk_usage(cache_root()).free < SPARE_DISK:
        shutil.rmtree(cache_root() / "go" / "build", ignore_errors=True)


def _copy_asset(asset: str, source: Path, folder: Path) -> None:
    module, path = asset.split(":")
    argv = [str(go()), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]
    where = Path(run(*argv, env=go_environment(False), cwd=source).strip())
    shutil.copyfile(where / path, folder / Path(path).name)


def _source(recipe: Recipe) -> Path:
    return HERE / recipe.module if recipe.test_module else HERE / "gomod" / recipe.module


def _inputs(source: Path) -> list[Path]:
    code = [path for path in source.rglob("*.go") if not path.name.endswith("_test.go")]
    return sorted([*code, *source.glob("go.*")])
