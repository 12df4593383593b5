"""A folder of this machine that all nodes of the test cluster have, like a network's storage.

The nodes' mount namespaces get a mount of it, which the kernel lets one carry from one namespace to
another: https://man7.org/linux/man-pages/man2/open_tree.2.html
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from tests.testbed.cluster import SITE
from tests.testbed.nodes import all_nodes, nodes_engine
from tests.testbed.shell import run

_PROGRAM = """
import ctypes, os, sys
folder, process, place = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
OPEN_TREE, MOVE_MOUNT, HERE, CLONE, EMPTY_PATH, NEWNS, DETACH = 428, 429, -100, 1, 4, 0x20000, 2
def call(answer):
    if answer < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return answer
tree = call(libc.syscall(OPEN_TREE, HERE, folder.encode(), CLONE)) if folder else -1
call(libc.setns(os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY), NEWNS))
if folder:
    os.makedirs(place)
    call(libc.syscall(MOVE_MOUNT, tree, b"", HERE, place.encode(), EMPTY_PATH))
else:
    call(libc.umount2(place.encode(), DETACH))
    os.rmdir(place)
"""


@contextmanager
def shared_by_nodes(folder: Path, place: str) -> Iterator[None]:
    """The folder is at that place of every node as long as the block lasts."""
    with closing(nodes_engine(SITE).client()) as client, ExitStack() as mounted:
        for node in all_nodes(SITE):
            process = str(client.containers.get(node.name).attrs["State"]["Pid"])
            run(sys.executable, "-c", _PROGRAM, str(folder), process, place)
            mounted.callback(run, sys.executable, "-c", _PROGRAM, "", process, place)
        yield
