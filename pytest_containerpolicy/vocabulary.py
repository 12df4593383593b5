"""The words of policies and settings; kept apart because an idle pytest needs some of them."""

from typing import Literal, get_args

Severity = Literal["info", "low", "medium", "high", "critical"]
Profile = Literal["baseline", "strict", "audit"]
Evidence = Literal["declared", "effective", "measured"]
Level = Literal["observe", "probe", "disrupt"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
PROFILES: tuple[Profile, ...] = get_args(Profile)
EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)
LEVELS: tuple[Level, ...] = get_args(Level)
CHALLENGES = (
    "storage",
    "networking",
    "resources",
    "upgrades",
    "security",
    "platform",
    "footprint",
)
