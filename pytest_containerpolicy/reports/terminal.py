"""The terminal section at the end of a run: target x challenge, and what could not be seen.

It is made from what the test reports carry (`user_properties`), so it is the same with xdist.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date

from pytest_containerpolicy.policies import Policy
from pytest_containerpolicy.reports.text import printable
from pytest_containerpolicy.targets.inventory import Header
from pytest_containerpolicy.vocabulary import CHALLENGES
from pytest_containerpolicy.waivers import Waiver

ASSUMED = "passed as far as configuration tells"
LETTERS = {"failed": "F", "passed": "P", ASSUMED: "A", "not applicable": "S", "not evaluated": "?"}
_SOON = 14

Properties = dict[str, str]


def table(results: Sequence[Properties]) -> list[str]:
    """Counts of verdicts, a row per target and a column per challenge."""
    cells: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for result in results:
        cells[result["policy.target"], result["policy.category"]][_outcome(result)] += 1
    targets = sorted({target for target, _ in cells})
    columns = [name for name in CHALLENGES if any(challenge == name for _, challenge in cells)]
    rows = [["", *columns]]
    rows += [[target, *(_cell(cells[target, name]) for name in columns)] for target in targets]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    used = {verdict for counts in cells.values() for verdict in counts}
    legend = ", ".join(f"{LETTERS[verdict]} {verdict}" for verdict in LETTERS if verdict in used)
    return [*lines, "", legend] if results else []


def _outcome(result: Properties) -> str:
    return ASSUMED if result.get("policy.assumed") else result["policy.verdict"]


def _cell(counts: Counter[str]) -> str:
    return " ".join(
        f"{counts[verdict]}{letter}" for verdict, letter in LETTERS.items() if counts[verdict]
    )


def not_evaluated(results: Iterable[Properties]) -> list[str]:
    """What could not be looked at, a line per target and reason, with who wanted it."""
    missing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        for gap in filter(None, result.get("policy.gaps", "").split("\n")):
            missing[result["policy.target"], gap].append(result["policy.id"])
    return [
        printable(f"could not look on {target}: {gap} (wanted by {_some(ids)})")
        for (target, gap), ids in sorted(missing.items())
    ]


def assumed(results: Iterable[Properties]) -> list[str]:
    """How many passes rest on what no configuration shows, and how to find it out."""
    resting = [result["policy.id"] for result in results if result.get("policy.assumed")]
    if not resting:
        return []
    return [
        f"{len(resting)} of the passes (A) assume what no configuration shows"
        f" ({_some(sorted(set(resting)))}): --cp-level=probe or disrupt finds it out,"
        " --cp-profile=audit says what it is"
    ]


def measured(results: Sequence[Properties]) -> list[str]:
    """The first line of each measurement, with the policy and target that it was made for."""
    return [
        printable(f"{result['policy.id']} on {result['policy.target']}: {line}")
        for result in results
        for figures in result.get("policy.figures", "").split("\n\n")
        if (line := figures.partition("\n")[0])
    ]


def _some(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more"


def waived(
    results: Sequence[Properties],
    waivers: Sequence[Waiver],
    policies: Iterable[Policy],
    today: date,
) -> list[str]:
    """How many findings were waived, which waivers end soon, have ended, or are of no use.

    A run that judged nothing of what a waiver speaks of says nothing of its use.
    """
    used = Counter(
        place for r in results for place in r.get("policy.waivers", "").split("\n") if place
    )
    by_id = {policy.id: policy for policy in policies}
    asked = [
        (by_id[result["policy.id"]], result["policy.target"])
        for result in results
        if result["policy.verdict"] in ("passed", "failed")
    ]
    lines = [f"waived: {used.total()}"] if used else []
    for waiver in waivers:
        data = waiver.data
        name = f"{data.policy} for {data.object} (owner {data.owner}, {waiver.place})"
        if waiver.is_expired(today):
            lines.append(f"waiver expired on {data.until}: {name}: findings fail again")
        elif waiver.place not in used and any(waiver.speaks_of(*pair) for pair in asked):
            lines.append(f"waiver not used: {name}: remove it, or mend its policy or object")
        elif (data.until - today).days <= _SOON:
            lines.append(f"waiver ends in {(data.until - today).days} days: {name}")
    return [printable(line) for line in lines]


def reading(header: Header) -> list[str]:
    """What was read of a target and how long that took, then the reader's notes."""
    version = f" {header.version}" if header.version else ""
    first = f"{header.target}{version}: {header.objects:,} objects in {header.seconds:.2f} s"
    return [printable(line) for line in (first, *(f"  {note}" for note in header.notes))]
