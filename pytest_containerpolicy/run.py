"""One run: its policies, targets and waivers, its header and its closing section."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_containerpolicy.collection import PolicyPlugin
from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.options import Settings
from pytest_containerpolicy.policies import Policy, builtin_pack, find_pack, load_pack, select
from pytest_containerpolicy.readings import Readings
from pytest_containerpolicy.reports import terminal
from pytest_containerpolicy.targets.uri import Timeouts, parse_targets
from pytest_containerpolicy.waivers import load_waivers

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHARED = "containerpolicy_shared"


class Run(PolicyPlugin):
    """What is registered with pytest while a run judges something."""

    shared: tempfile.TemporaryDirectory[str] | None = None

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
            f" · {count} policies ({profile}) · {level}"
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell an xdist worker where the shared readings are."""
        if self.shared is None:
            self.shared = tempfile.TemporaryDirectory(prefix="containerpolicy-")
            self.readings = Readings(
                list(self.readings.targets.values()),
                _timeouts(self.settings),
                Path(self.shared.name),
            )
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
        lines += terminal.waived(results, self.waivers, self.policies, date.today())
        for target in self.readings.targets:
            inventory = self.readings.already_read(target)
            if inventory is not None:
                lines += terminal.reading(inventory.header)
        return lines

    def pytest_unconfigure(self) -> None:
        if self.shared is not None:
            self.shared.cleanup()

    def print_policies(self) -> None:
        """A line per selected policy: id, severity, platforms, title."""
        width = max(len(policy.id) for policy in self.policies)
        for policy in self.policies:
            data = policy.data
            platforms = ",".join(data.platforms)
            print(f"{policy.id:<{width}}  {data.severity:<8}  {platforms:<32}  {data.title}")


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
    if not chosen:
        raise UsageError(
            "no policy is left: --cp-select, --cp-ignore and --cp-min-severity leave none"
        )
    asks_nothing = settings.selftest or config.option.cp_list
    if not settings.targets and not asks_nothing:
        raise UsageError(
            "no target: give --cp-target URI, CONTAINERPOLICY_TARGETS or containerpolicy_targets"
        )
    targets = () if asks_nothing else parse_targets(settings.targets)
    worker_input = getattr(config, "workerinput", {})
    shared = worker_input.get(_SHARED)
    readings = Readings(targets, _timeouts(settings), Path(shared) if shared else None)
    return Run(settings, chosen, readings, load_waivers(settings.waivers, policies))


def load_policies(settings: Settings, base: Path) -> list[Policy]:
    """Every policy of the shipped pack and the packs that were named. Raises `PackError`."""
    packs = [builtin_pack(), *(find_pack(name, base) for name in settings.packs)]
    folders = {pack.folder: pack for pack in packs}
    policies = [p for pack in folders.values() for p in load_pack(pack, settings.profile)]
    return sorted(policies, key=lambda policy: policy.id)


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(connect=settings.connect_timeout, read=settings.timeout)


def _from(settings: Settings, name: str) -> str:
    source = settings.sources.get(name)
    return f" from {source}" if source else ""


def _one_per_item(results: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    # An item has up to three reports (setup, call, teardown) that carry the same properties.
    unique = {(r["policy.target"], r["policy.id"]): r for r in results}
    return list(unique.values())
