"""A small Python 3 from Debian's packages, as one layer of the image of a client in a pod.

The standard library is compiled and its sources left out: it starts faster, takes half the space,
and writes nothing when the root file system is read-only.
"""

from __future__ import annotations

import platform
import re
import shutil
import tarfile
from pathlib import Path

from tests.testbed.shell import run
from tests.testbed.system import unpack_packages

PACKAGES = (
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libc6",
    "libssl3",
    "zlib1g",
    "libexpat1",
    "libffi8",
    "ca-certificates",
)
ENVIRONMENT = (
    "LANG=C.UTF-8",
    "PYTHONDONTWRITEBYTECODE=1",
    "PYTHONUNBUFFERED=1",
    "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
)
_LIBRARIES = (
    "libc",
    "libm",
    "libz",
    "libexpat",
    "libcrypto",
    "libssl",
    "libdl",
    "libpthread",
    "libffi",
)
# What a client never imports, and extension modules whose libraries are not in the layer.
_LEFT_OUT = re.compile(
    "_bz2|_codecs_|_crypt|_ctypes_test|_curses|_dbm|_lzma|_sqlite3|_test|_uuid|_xxtestfuzz|"
    "curses|dbm|distutils|nis|ossaudiodev|pydoc_data|readline|sqlite3|test|turtle|unittest|venv|"
    "xxlimited"
)


def write_python_layer(folder: Path) -> None:
    """Write `layer.tar`: the same bytes for the same packages."""
    root = folder / "unpacked"
    unpack_packages(list(PACKAGES), root)
    _compile(root)
    files = _chosen(root)
    with tarfile.open(folder / "layer.tar", "w") as tar:
        for path in sorted(files):
            tar.add(root / path, str(path), recursive=False, filter=_plain)
        _add_certificates(tar, root)
        _link(tar, "usr/bin/python3", "python3.11")
    shutil.rmtree(root)


def _compile(root: Path) -> None:
    library = root / "usr/lib/python3.11"
    paths = f"{root}/lib/{_triplet()}:{root}/usr/lib/{_triplet()}"
    loader = next((root / "lib" / _triplet()).glob("ld-linux-*"))
    python: list[str | Path] = [loader, "--library-path", paths, root / "usr/bin/python3.11", "-I"]
    # Hashes instead of times, and no folder names: two machines write the same bytes.
    flags = ["-q", "-b", "--invalidation-mode", "unchecked-hash"]
    run(*python, "-m", "compileall", *flags, "-s", root, "-p", "/", library)


def _chosen(root: Path) -> set[Path]:
    library = root / "usr/lib/python3.11"
    chosen = {path for path in library.rglob("*") if path.is_file() and _wanted(path, library)}
    for folder in (root / "lib" / _triplet(), root / "usr/lib" / _triplet()):
        chosen |= {path for path in folder.glob("*.so*") if path.name.split(".")[0] in _LIBRARIES}
    loaders = set(root.glob("lib*/**/ld-linux-*"))
    return {path.relative_to(root) for path in chosen | loaders | {root / "usr/bin/python3.11"}}


def _wanted(path: Path, library: Path) -> bool:
    top = path.relative_to(library).parts[0]
    name = path.name if top == "lib-dynload" else top
    return path.suffix in (".pyc", ".so") and not _LEFT_OUT.match(name)


def _add_certificates(tar: tarfile.TarFile, root: Path) -> None:
    bundle = root / "ca-certificates.crt"
    each = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle.write_text("".join(path.read_text() for path in each))
    tar.add(bundle, "etc/ssl/certs/ca-certificates.crt", filter=_plain)


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
    return entry


def _triplet() -> str:
    return f"{platform.machine()}-linux-gnu"
