"""Policies: loaded from packs, validated strictly, selected by id, severity and profile.

A policy is data (`policy.yaml`) that names a check and says why it matters and how to mend what
it finds; the JSON Schema that editors use is generated from the type in this module.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from pytest_containerpolicy.checks.registry import Check, find_check
from pytest_containerpolicy.errors import PackError, UsageError
from pytest_containerpolicy.experiments.registry import Experiment, find_experiment
from pytest_containerpolicy.targets.inventory import Platform
from pytest_containerpolicy.targets.uri import suggestion
from pytest_containerpolicy.targets.yaml_files import Document, load_documents
from pytest_containerpolicy.vocabulary import (
    CHALLENGES,
    EVIDENCE,
    PROFILES,
    SEVERITIES,
    Evidence,
    Level,
    Profile,
    Severity,
)

ENTRY_POINTS = "pytest_containerpolicy.packs"
POLICY_FILE = "policy.yaml"
Sentence = Annotated[str, Meta(min_length=1)]


class PolicyData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a `policy.yaml`.

    `summary` completes "3 of 41 containers ..." in the first line of a failure; `patches` are
    merge patches, one per platform, that mend the object of a finding; `profiles` gives the
    params of each profile that the policy belongs to. It names either a `check` over the model or
    an `experiment` on the live target. What a check takes for granted, as no configuration shows
    it, stands in `assumes`; `measured_by` is the id of the policy whose experiment finds it out,
    `measured_at` the level that this experiment needs.
    """

    id: Annotated[str, Meta(pattern="^[a-z]+/[a-z0-9-]+$")]
    title: Sentence
    summary: Sentence
    severity: Severity
    platforms: Annotated[list[Platform], Meta(min_length=1)]
    why: Sentence
    fix: dict[Platform, Sentence] | Sentence
    check: str = ""
    experiment: str = ""
    assumes: str = ""
    measured_by: str = ""
    measured_at: Level = "disrupt"
    evidence: Evidence = "declared"
    params: dict[str, Any] = {}
    profiles: dict[Profile, dict[str, Any]] = msgspec.field(
        default_factory=lambda: {profile: {} for profile in PROFILES}
    )
    patches: dict[Platform, dict[str, Any]] = {}
    references: list[str] = []
    standards: list[str] = []
    aliases: list[str] = []
    since: str = "0.1.0"
    waivable: bool = True


class Policy(Struct, frozen=True, kw_only=True, dict=True):
    """One policy of one pack. `settings` are the params of the profile, as they are written.

    Its check is found, and the params converted, when first asked for: a run that only observes
    loads no experiment.
    """

    data: PolicyData
    file: Path
    pack: str
    settings: dict[str, Any]

    @cached_property
    def check(self) -> Check:
        """The check or experiment that it names. Raises `PackError` if there is none."""
        return _find(self.data)

    @cached_property
    def params(self) -> dict[str, Any]:
        """The params as the check's types. Raises `PackError` naming the key."""
        return self.check.convert(self.settings)

    @property
    def is_experiment(self) -> bool:
        """Whether it is judged by an experiment."""
        return bool(self.data.experiment)

    @property
    def id(self) -> str:
        return self.data.id

    @property
    def challenge(self) -> str:
        return self.id.partition("/")[0]

    @property
    def level(self) -> Level:
        """The least that a run must be allowed to do, for this policy to be judged."""
        if not self.is_experiment:
            return "observe"
        return cast(Experiment, self.check).level

    @property
    def assumption(self) -> str:
        """What a pass rests on, and how to find it out; empty if on nothing but configuration."""
        if not self.data.assumes:
            return ""
        return (
            f"{self.data.assumes} cannot be known from configuration: run with"
            f" --cp-level={self.data.measured_at} ({self.data.measured_by})"
        )

    def assumption_on(self, platform: Platform) -> str:
        """The assumption, for a platform on which it can't be found out as well."""
        if not self.data.assumes or platform in self._measurable_on:
            return self.assumption
        return (
            f"{self.data.assumes} cannot be known from configuration, and no experiment finds it"
            f" out on {platform}"
        )

    @cached_property
    def _measurable_on(self) -> Sequence[Platform]:
        own, shipped = self.folder.parent.parent, builtin_pack().folder
        files = (folder / self.data.measured_by / POLICY_FILE for folder in (own, shipped))
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            return ()
        return load_policy(file, self.pack, experiments=False).data.platforms

    @property
    def folder(self) -> Path:
        return self.file.parent

    def fix_for(self, platform: str) -> str:
        """What to do about a finding on a platform."""
        fix = self.data.fix
        return fix if isinstance(fix, str) else fix.get(platform, "")  # type: ignore[call-overload]

    @cached_property
    def subject(self) -> str:
        """What the policy is asked about, in the plural: `containers`."""
        name = self.check.noun.__name__
        return {"DisruptionBudget": "disruption budgets", "NetworkPolicy": "network policies"}.get(
            name, f"{name.lower()}s"
        )


class Pack(Struct, frozen=True):
    """A folder of policies and the name that it is known by."""

    name: str
    folder: Path


def builtin_pack() -> Pack:
    """The pack that ships with the plugin."""
    package = Path(__file__).parent
    shipped = package / "pack"
    return Pack("builtin", shipped if shipped.is_dir() else package.parent / "policies")


def find_pack(name: str, base: Path) -> Pack:
    """A pack by folder (relative to `base`) or entry point. Raises `PackError` if there is none."""
    folder = base / name
    if folder.is_dir():
        return Pack(folder.name, folder.resolve())
    entries = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINTS)}
    if name not in entries:
        raise PackError(
            f"pack {name!r}: no such folder, and no such package{suggestion(name, entries)}"
        )
    # Importing the package also registers its checks.
    module = entries[name].load()
    return Pack(name, Path(module.__file__).parent)


def policy_files(pack: Pack) -> list[Path]:
    """The policy files of a pack, sorted; found by name, nothing is read."""
    return sorted(pack.folder.glob(f"**/{POLICY_FILE}"))


def load_policy(
    file: Path, pack: str, profile: Profile = "baseline", *, experiments: bool = True
) -> Policy:
    """One policy with the params of a profile; without `experiments` those are not looked up yet.

    Raises `PackError` naming file, line, key, value and what is allowed.
    """
    document = _document(file)
    try:
        data = msgspec.convert(document.content, PolicyData)
        _require_id(data, file)
        settings = data.params | data.profiles.get(profile, {})
        policy = Policy(data=data, file=file, pack=pack, settings=settings)
        if experiments or data.check:
            policy.params  # noqa: B018 - a mistake is told now, with its line
    except msgspec.ValidationError as error:
        raise PackError(_explain(file, str(error), document)) from None
    except PackError as error:
        key = str(error).partition(":")[0]
        raise PackError(f"{file}:{document.line_of(key)}: {error}") from None
    return policy


def load_pack(
    pack: Pack, profile: Profile = "baseline", *, experiments: bool = True
) -> list[Policy]:
    """Every policy of a pack, as `load_policy` gives it. Raises `PackError`."""
    files = policy_files(pack)
    if not files:
        raise PackError(f"pack {pack.folder}: no {POLICY_FILE} in it")
    policies = [load_policy(f, pack.name, profile, experiments=experiments) for f in files]
    _require_unique(policies)
    return policies


def select(
    policies: Sequence[Policy],
    *,
    selected: Iterable[str] = (),
    ignored: Iterable[str] = (),
    min_severity: Severity = "info",
    profile: Profile = "baseline",
) -> list[Policy]:
    """The policies of a profile that match a glob of `selected`, and none of `ignored`.

    A policy that `selected` names by its whole id or alias is taken whatever the profile.

    Raises `UsageError` for a glob that matches no policy: a misspelt id must not read as a pass.
    """
    wanted, unwanted = list(selected), list(ignored)
    for glob in (*wanted, *unwanted):
        if not any(matches(policy, glob) for policy in policies):
            known = {name for policy in policies for name in (policy.id, policy.challenge)}
            raise UsageError(f"no policy matches {glob!r}{suggestion(glob, known)}")
    least, wanted_names = SEVERITIES.index(min_severity), set(wanted)
    return [
        policy
        for policy in policies
        if (profile in policy.data.profiles or wanted_names & {policy.id, *policy.data.aliases})
        and (not wanted or any(matches(policy, glob) for glob in wanted))
        and not any(matches(policy, glob) for glob in unwanted)
        and SEVERITIES.index(policy.data.severity) >= least
    ]


def matches(policy: Policy, glob: str) -> bool:
    """Whether a glob, a bare challenge or an alias means this policy."""
    names = (policy.id, policy.challenge, *policy.data.aliases)
    return any(fnmatchcase(name, glob) for name in names)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `policy.yaml`, for editors."""
    return msgspec.json.schema(PolicyData)


def _document(file: Path) -> Document:
    try:
        documents = load_documents(file)
    except UsageError as error:
        raise PackError(str(error)) from None
    if len(documents) != 1:
        raise PackError(f"{file}: holds {len(documents)} documents, a policy is one")
    return documents[0]


def _find(data: PolicyData) -> Check:
    if bool(data.assumes) != bool(data.measured_by):
        raise PackError("assumes: goes with measured_by, the policy that finds it out")
    if bool(data.check) == bool(data.experiment):
        raise PackError("check: name either a check or an experiment")
    if data.experiment and data.evidence == "declared":
        raise PackError("evidence: an experiment gives effective or measured evidence")
    if data.check and data.evidence != "declared":
        raise PackError("evidence: a check gives declared evidence; name an experiment")
    return find_experiment(data.experiment) if data.experiment else find_check(data.check)


def _require_id(data: PolicyData, file: Path) -> None:
    expected = f"{file.parent.parent.name}/{file.parent.name}"
    if data.id != expected:
        raise PackError(f"id: {data.id!r} is not where it stands; its folder says {expected!r}")
    challenge = data.id.partition("/")[0]
    if challenge not in CHALLENGES:
        raise PackError(f"id: unknown challenge {challenge!r}{suggestion(challenge, CHALLENGES)}")


def _require_unique(policies: Sequence[Policy]) -> None:
    seen: dict[str, Policy] = {}
    for policy in policies:
        for name in (policy.id, *policy.data.aliases):
            if name in seen:
                raise PackError(f"{policy.file}: {name!r} is already the name of {seen[name].file}")
            seen[name] = policy


def _explain(file: Path, message: str, document: Document) -> str:
    """msgspec's `Expected ... - at `$.key`` as file, line, key, value and what is allowed."""
    text, _, place = message.partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    if "unknown field" in text:
        key = text.rpartition("`")[0].rpartition("`")[2]
        text = f"unknown key {key!r}{suggestion(key, PolicyData.__struct_fields__)}"
        path = f"{path}.{key}".lstrip(".")
    elif "missing required field" in text:
        key = text.rpartition("`")[0].rpartition("`")[2]
        text = f"key {key!r} is missing"
    elif isinstance(document.content, dict) and path in document.content:
        text = f"{path}: {text}, found {document.content[path]!r}{_allowed(path)}"
    return f"{file}:{document.line_of(path)}: {text}"


def _allowed(key: str) -> str:
    values = {"severity": SEVERITIES, "evidence": EVIDENCE}.get(key, ())
    return f" (allowed: {', '.join(values)})" if values else ""
