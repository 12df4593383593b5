"""Markers in the places of a workload: planted before, looked for after."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook, NotRestored
from pytest_containerpolicy.experiments.markers import Hand, Marker
from pytest_containerpolicy.experiments.survival_places import Place
from pytest_containerpolicy.experiments.survival_result import Fate, Reading, Recreation

HandOf = Callable[[str], Hand]


def undone(
    change: AbstractContextManager[object], measure: Callable[[], Iterable[Recreation]]
) -> list[Recreation]:
    """What was measured within a change that is undone afterwards.

    What can't be undone because the next copy did not come up is a note beside that finding.
    Raises `NotRestored` otherwise.
    """
    found: list[Recreation] = []
    try:
        with change:
            for one in measure():
                found.append(one)  # noqa: PERF402 - what was found before an error counts
    except NotRestored as left:
        if not found or found[-1].ready_after is not None:
            raise
        found[-1] = replace(found[-1], notes=(*found[-1].notes, str(left)))
    return found


def require_hands(hand_of: HandOf, places: Sequence[Place], marker: Marker) -> None:
    """Raise `CannotLook` if what is expected to be kept is out of reach: nothing is written yet."""
    for place in {place.container: place for place in places if place.expected}.values():
        hand_of(place.container).read(place.path, marker)


def plant(hand_of: HandOf, places: Sequence[Place], marker: Marker) -> tuple[Place, ...]:
    """Write the marker into each place; returns those that are directories, then those that should
    have been: mounts that are expected to be kept, and are a file or a socket each.

    `hand_of` leads from a container's name to what reaches into it. Raises `CannotLook` where the
    marker can't be written but is expected to be kept, and if there is no directory at all.
    """
    written = tuple(place for place in places if _write(hand_of, place, marker))
    missing = [place for place in places if place.is_data and place not in written]
    homes = {place.container for place in written if place.is_data}
    lacking = [place for place in missing if place.container not in homes]
    if lacking or not any(place.expected for place in written):
        wanted = lacking or [place for place in places if place.expected]
        raise CannotLook(
            f"container {wanted[0].container} has no directory"
            f" {' or '.join(place.path for place in wanted)}"
        )
    files = [place for place in places if place.expected and not place.is_data]
    return (*written, *(replace(one, is_file=True) for one in files if one not in written))


def _write(hand_of: HandOf, place: Place, marker: Marker) -> bool:
    try:
        return hand_of(place.container).write(place.path, marker)
    except CannotLook as gap:
        if not place.expected:
            return False
        raise CannotLook(f"container {place.container}: {gap}") from None


def look(
    hand_of: HandOf, places: Sequence[Place], marker: Marker, *, running: bool
) -> Iterator[Reading]:
    """What became of the marker in each place.

    In what does not run as it should, what can't be looked at is not seen. Raises `CannotLook`.
    """
    for place in places:
        yield Reading(place=place, fate=_fate(hand_of, place, marker, running))


def _fate(hand_of: HandOf, place: Place, marker: Marker, running: bool) -> Fate:
    if place.is_file:
        return "not seen"
    try:
        return hand_of(place.container).read(place.path, marker)
    except CannotLook:
        if running and place.expected:
            raise
        return "not seen"
