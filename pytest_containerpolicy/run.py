"""One run: its policies, targets and waivers, its header and its closing section."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import pytest

from pytest_containerpolicy.collection import PolicyItem, PolicyPlugin
from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.laboratories import (
    Laboratories,
    is_allowed,
    require_scope,
    timeouts_of,
)
from pytest_containerpolicy.options import Settings
from pytest_containerpolicy.policies import Policy, builtin_pack, find_pack, load_pack, select
from pytest_containerpolicy.readings import Readings
from pytest_containerpolicy.reports import terminal
from pytest_containerpolicy.targets.uri import parse_targets
from pytest_containerpolicy.waivers import load_waivers
from pytest_containerpolicy.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHARED = "containerpolicy_shared"


class Run(PolicyPlugin):
    """What is registered with pytest while a run judges something."""

    shared: tempfile.TemporaryDirectory[str] | None = None
    beyond: int = 0
    watcher: Watcher

    @property
    def args(self) -> list[str]:
        """The policy files, as pytest arguments."""
        judged = self.settings.selftest
        return [str(p.file) for p in self.policies if judged or self.targets_of(p)]

    def pytest_report_header(self) -> str:
        settings = self.settings
        count = len(self.policies)
        if settings.selftest:
            return f"containerpolicy: self-test of {count} policies"
        targets = len(self.readings.targets)
        source = settings.sources.get("target", "")
        origin = f" (from {source})" if source else ""
        profile = f"profile {settings.profile}{_from(settings, 'profile')}"
        level = f"level {settings.level}{_from(settings, 'level')}"
        return (
            f"containerpolicy: {targets} target{'s' * (targets != 1)}{origin}"
            f" · {count} policies ({profile}) · {level}{_more(self.beyond)}"
        )

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Put right what a killed run has left, before anything is read."""
        if self.settings.level == "observe" or hasattr(session.config, "workerinput"):
            return
        try:
            for line in self.laboratories.restore():
                self.watcher.write(line)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """List what will be disrupted; with --cp-dry-run what else will be done, and stop."""
        if hasattr(session.config, "workerinput"):
            return None
        pairs = [(item.policy, item.target) for item in session.items if _is_policy(item)]
        if self.shared is not None:
            # With xdist the items are on the workers.
            pairs = [(p, target) for p in self.policies for target in self.targets_of(p)]
        dry_run = self.settings.dry_run
        for line in self.laboratories.plan(pairs, "probe" if dry_run else "disrupt"):
            self.watcher.write(line)
        return True if dry_run else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell an xdist worker where the shared readings are."""
        if self.shared is None:
            self.shared = tempfile.TemporaryDirectory(prefix="containerpolicy-")
            self.readings = Readings(
                list(self.readings.targets.values()),
                timeouts_of(self.settings),
                Path(self.shared.name),
            )
            self.laboratories = Laboratories(self.settings, self.readings, self.watcher.write)
        node.workerinput[_SHARED] = self.shared.name

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        results = [
            properties
            for reports in terminalreporter.stats.values()
            for report in reports
            if isinstance(report, pytest.TestReport)
            and (properties := {k: str(v) for k, v in report.user_properties})
            and "policy.verdict" in properties
        ]
        if not results:
            return
        terminalreporter.section("container policy")
        for line in self._closing_lines(_one_per_item(results)):
            terminalreporter.write_line(line)

    def _closing_lines(self, results: Sequence[dict[str, str]]) -> list[str]:
        lines = [*terminal.table(results), *terminal.not_evaluated(results)]
        lines += terminal.assumed(results)
        lines += terminal.measured(results)
        lines += terminal.waived(results, self.waivers, self.policies, date.today())
        for target in self.readings.targets:
            inventory = self.readings.already_read(target)
            if inventory is not None:
                lines += terminal.reading(inventory.header)
        return lines

    def pytest_unconfigure(self) -> None:
        self.laboratories.close()
        if self.shared is not None:
            self.shared.cleanup()

    def print_policies(self) -> None:
        """A line per selected policy: id, severity, evidence, platforms, title."""
        width = max(len(policy.id) for policy in self.policies)
        for policy in self.policies:
            data = policy.data
            platforms = ",".join(data.platforms)
            facts = f"{data.severity:<8}  {data.evidence:<9}  {platforms:<32}"
            print(f"{policy.id:<{width}}  {facts}  {data.title}")


def make_run(config: pytest.Config, settings: Settings) -> Run:
    """Load packs, parse targets, load waivers. Raises `UsageError` for whatever is wrong."""
    policies = load_policies(settings, config.invocation_params.dir)
    chosen = select(
        policies,
        selected=settings.select,
        ignored=settings.ignore,
        min_severity=settings.min_severity,
        profile=settings.profile,
    )
    asks_nothing = settings.selftest or config.option.cp_list
    asked = chosen if asks_nothing else _asked_for(chosen, settings)
    if not asked:
        raise UsageError(
            "no policy is left: --cp-select, --cp-ignore and --cp-min-severity leave none"
            + _more(len(chosen))
        )
    if not settings.targets and not asks_nothing:
        raise UsageError(
            "no target: give --cp-target URI, CONTAINERPOLICY_TARGETS or containerpolicy_targets"
        )
    targets = () if asks_nothing else parse_targets(settings.targets)
    worker_input = getattr(config, "workerinput", {})
    shared = worker_input.get(_SHARED)
    if settings.level == "disrupt":
        require_scope(asked, targets)
    readings = Readings(targets, timeouts_of(settings), Path(shared) if shared else None)
    watcher = Watcher(config)
    laboratories = Laboratories(settings, readings, watcher.write)
    run = Run(settings, asked, readings, laboratories, load_waivers(settings.waivers, policies))
    run.beyond, run.watcher = len(chosen) - len(asked), watcher
    return run


def _asked_for(chosen: Sequence[Policy], settings: Settings) -> list[Policy]:
    """The policies that the run's level allows, and those that were asked for by name."""
    names = set(settings.select)
    return [
        policy
        for policy in chosen
        if not policy.is_experiment
        or (settings.level != "observe" and is_allowed(policy.level, settings.level))
        or names & {policy.id, *policy.data.aliases}
    ]


def _more(beyond: int) -> str:
    return f" ({beyond} more with --cp-level=probe or disrupt)" if beyond else ""


def _is_policy(item: pytest.Item) -> TypeGuard[PolicyItem]:
    return isinstance(item, PolicyItem)


def load_policies(settings: Settings, base: Path) -> list[Policy]:
    """Every policy of the shipped pack and the packs that were named. Raises `PackError`."""
    packs = [builtin_pack(), *(find_pack(name, base) for name in settings.packs)]
    folders = {pack.folder: pack for pack in packs}
    acts = settings.selftest or settings.level != "observe"
    policies = [
        policy
        for pack in folders.values()
        for policy in load_pack(pack, settings.profile, experiments=acts)
    ]
    return sorted(policies, key=lambda policy: policy.id)


def _from(settings: Settings, name: str) -> str:
    source = settings.sources.get(name)
    return f" from {source}" if source else ""


def _one_per_item(results: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    # An item has up to three reports (setup, call, teardown) that carry the same properties.
    unique = {(r["policy.target"], r["policy.id"]): r for r in results}
    return list(unique.values())
