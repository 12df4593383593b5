"""What was written beside the volumes, from what the programs inside list."""

from __future__ import annotations

from typing import Any

from pytest_containerpolicy.experiments.effective_writes import (
    File,
    Written,
    parse_written,
    together,
)
from tests.unit.inside_readings import pod_copy, recorded

START = {"state": {"running": {"startedAt": "1970-01-01T00:01:40Z"}}}


def written(text: str, *ignored: str, **sections: Any) -> Written:
    """What these lines say of a container with a volume on `/my data`."""
    vitals = recorded("docker-limits-v1", pod_copy(status=START))
    assert {"/", "/my data"} <= vitals.mounts.keys()
    return parse_written([("files", text), *sections.items()], vitals, ignored)


def test_files_of_volumes_are_left_out() -> None:
    """Where a volume is of the root's own device, its files are listed with the others."""
    found = written("100 2 /my data/a/b\n100 3 /my database/x\n100 4 /my data")
    assert (File(path="/my database/x", size=3),) == found.files


def test_closed_folders() -> None:
    """Folders that nobody could look into count, unless all in them is ignored or in a volume."""
    places = ("/srv", "/tmp/x", "/tmp", "/root/.cache", "/my data/pg", "/my data")  # noqa: S108
    text = "\n".join(f"100 closed {place}" for place in places)
    found = written(text, "/tmp", "*/.cache/*", user="5")  # noqa: S108
    assert Written((), closed=("/srv",), user="5") == found


def test_search_that_was_cut_short() -> None:
    """What did not come to its end is not whole."""
    assert not written("100 1 /x", unfinished="").is_whole
    assert written("100 1 /x").is_whole


def test_what_two_users_see() -> None:
    """What is closed to the one and open to the other is seen; below it either may be shut out."""
    file, other = File(path="/a/x", size=1), File(path="/b", size=2)
    one = Written((other,), closed=("/a", "/c"), user="0")
    two = Written((file, other), closed=("/a/deep", "/d"), user="5")
    assert Written((other, file), closed=("/a/deep",), user="5") == together(one, two)
