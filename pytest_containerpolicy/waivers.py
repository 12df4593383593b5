"""Waivers: findings that somebody has accepted, with a reason, an owner and an end.

- policy: networking/no-all-interfaces
  object: "service web"          # a glob over "Kind name" or "Kind namespace/name"
  reason: behind the host firewall
  owner: ops
  until: 2027-03-31
"""

from collections.abc import Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from pytest_containerpolicy.checks.registry import Finding
from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.policies import Policy, matches
from pytest_containerpolicy.targets.uri import suggestion
from pytest_containerpolicy.targets.yaml_files import load_documents

Text = Annotated[str, Meta(min_length=1)]


class WaiverData(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a waivers file; `target` is a glob over target ids, all without it."""

    policy: Text
    object: Text
    reason: Text
    owner: Text
    until: date
    target: str = "*"


class Waiver(Struct, frozen=True):
    """An entry and where it stands, for messages."""

    data: WaiverData
    place: str

    def speaks_of(self, policy: Policy, target: str) -> bool:
        """Whether it may cover findings of a policy on a target."""
        return matches(policy, self.data.policy) and fnmatchcase(target, self.data.target)

    def covers(self, policy: Policy, target: str, finding: Finding) -> bool:
        """Whether it speaks of this finding, whatever the date."""
        names = (finding.subject, str(finding.ref))
        return self.speaks_of(policy, target) and any(
            fnmatchcase(name, self.data.object) for name in names
        )

    def is_expired(self, today: date) -> bool:
        """The day named in `until` is the last one that it holds."""
        return today > self.data.until


def load_waivers(files: Iterable[Path], policies: Sequence[Policy]) -> list[Waiver]:
    """All waivers of some files. Raises `UsageError` for a bad entry or an unknown policy id."""
    return [waiver for file in files for waiver in _load(file, policies)]


def _load(file: Path, policies: Sequence[Policy]) -> list[Waiver]:
    documents = load_documents(file)
    if not documents:
        return []
    entries = documents[0].content
    if not isinstance(entries, list):
        raise UsageError(f"{file}:1: a waivers file is a list of entries, found a {_kind(entries)}")
    return [
        _entry(f"{file}:{documents[0].line_of(f'[{index}]')}", entry, policies)
        for index, entry in enumerate(entries)
    ]


def _entry(place: str, entry: object, policies: Sequence[Policy]) -> Waiver:
    try:
        data = msgspec.convert(entry, WaiverData, strict=False)
    except msgspec.ValidationError as error:
        keys = ", ".join(WaiverData.__struct_fields__)
        raise UsageError(f"{place}: {error} (keys: {keys}; until: YYYY-MM-DD)") from None
    meant = [policy for policy in policies if matches(policy, data.policy)]
    if not meant:
        known = [policy.id for policy in policies]
        raise UsageError(
            f"{place}: no policy matches {data.policy!r}{suggestion(data.policy, known)}"
        )
    if not any(policy.data.waivable for policy in meant):
        raise UsageError(f"{place}: {data.policy} can't be waived (waivable: false)")
    return Waiver(data, place)


def _kind(value: object) -> str:
    return "mapping" if isinstance(value, dict) else type(value).__name__
