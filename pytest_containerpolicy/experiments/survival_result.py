"""What was left of markers after containers were replaced, in figures and words."""

from typing import Literal

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.markers import SIZE
from pytest_containerpolicy.experiments.survival_places import Place

Fate = Literal["kept", "lost", "changed", "not seen"]


class Reading(Struct, frozen=True, kw_only=True):
    """One marker, read back; `left_at` is where the old data still is, out of reach."""

    place: Place
    fate: Fate
    left_at: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether what was meant to be kept is not there as it was."""
        return self.place.expected and self.fate in ("lost", "changed")

    def __str__(self) -> str:
        if self.place.is_file:
            return f"{self.fate} {self.place} (a file or a socket: no marker can be put into it)"
        checked = f" ({SIZE:,} bytes, checksum equal)" if self.fate == "kept" else ""
        meant = (
            "" if self.place.expected or self.fate == "kept" else " (scratch, nobody expects it)"
        )
        left = f"; what was written stayed behind in {self.left_at}" if self.left_at else ""
        return f"{self.fate:<5} {self.place}{checked}{meant}{left}"


class Recreation(Struct, frozen=True, kw_only=True):
    """One copy that was replaced: what was done, how long it took, what became of its markers.

    `unit` is what was replaced (`pod db-0`), `how` what was done to it (`was deleted`). Times in
    seconds: `ready_after` until the new copy was ready, None if it was not within the deadline
    (`trouble` says why); `started_after` from its placement on a node to the start of its
    containers, which includes the attachment of its volumes. `notes` are further facts.
    `identity` says what a StatefulSet's pod did not keep: its name or a claim. `doubt` says why it
    proves nothing that all was kept; empty if it does.
    """

    unit: str
    how: str
    ready_after: float | None
    started_after: float | None = None
    node_before: str = ""
    node_after: str = ""
    identity: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    trouble: str = ""
    notes: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def moved(self) -> bool:
        """Whether the new copy is on another node."""
        return bool(self.node_after) and self.node_before != self.node_after

    @property
    def survived(self) -> bool:
        """Whether it came back, as itself, with all that was meant to be kept."""
        back = self.ready_after is not None and not self.identity
        return back and not any(reading.is_bad for reading in self.readings)

    def __str__(self) -> str:
        lines = [f"{self.unit} {self.how}: {self._return}"]
        lines += [f"  {reading}" for reading in self.readings]
        lines += [f"  {text}" for text in (*self.identity, *self.notes)]
        return "\n".join(lines)

    @property
    def _return(self) -> str:
        if self.ready_after is None:
            return f"not ready again: {self.trouble}"
        facts = [f"ready again after {self.ready_after:.1f} s"]
        if self.started_after is not None:
            facts.append(f"started {self.started_after:.0f} s after it had a node")
        if self.moved:
            facts.append(f"moved from {self.node_before} to {self.node_after}")
        elif self.node_after:
            facts.append(f"on the same node {self.node_after}")
        return ", ".join(facts)


class Survival(Struct, frozen=True, kw_only=True):
    """What of a workload's data outlived its containers; true if all that should did."""

    subject: str
    recreations: tuple[Recreation, ...]

    @property
    def lost(self) -> tuple[Reading, ...]:
        """What was meant to be kept and is not there as it was."""
        return tuple(r for one in self.recreations for r in one.readings if r.is_bad)

    @property
    def survived(self) -> bool:
        """Whether every copy came back with all that was meant to be kept."""
        return all(one.survived for one in self.recreations)

    def require_proof(self) -> None:
        """Raise `CannotLook` if nothing was lost, but one of the copies could not have lost it."""
        doubts = [one.doubt for one in self.recreations if one.doubt]
        if self.survived and doubts:
            raise CannotLook(f"data of {self.subject}: {'; '.join(doubts)}")

    def __bool__(self) -> bool:
        return self.survived

    def __str__(self) -> str:
        return "\n".join([f"data of {self.subject}", *map(str, self.recreations)])
