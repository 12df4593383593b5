"""From policies to pytest items: one per policy and target, or per policy and example.

Collection does no I/O on targets, so that every xdist worker collects the same items.
"""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from msgspec.structs import replace

from pytest_containerpolicy.errors import ContainerPolicyError, Unreachable
from pytest_containerpolicy.laboratories import Laboratories, is_allowed
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.options import Settings
from pytest_containerpolicy.policies import Policy
from pytest_containerpolicy.readings import Readings
from pytest_containerpolicy.reports.text import describe, headline, printable
from pytest_containerpolicy.verdicts import Result, evaluate
from pytest_containerpolicy.waivers import Waiver

if TYPE_CHECKING:
    from pytest_containerpolicy.examples import Example


class PolicyFailed(Exception):
    """Findings; shown as their text, without a traceback."""


class NotEvaluated(Exception):
    """Could not look; raised in setup, so that pytest reports an error and not a failure."""


class Story:
    """What a report shows in place of a traceback: pytest's own shape of a representation.

    The first line alone goes into the short summary and JUnit's `message`.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.reprcrash = SimpleNamespace(message=text.partition("\n")[0])

    def __str__(self) -> str:
        return self.text

    def toterminal(self, writer: Any) -> None:
        writer.line(self.text)


class PolicyCollector(pytest.Collector):
    """A `policy.yaml` and the items that it yields.

    Not a `pytest.File`: `--lf` skips files by path, and a pack may stand outside the rootdir.
    """

    def __init__(self, *, policy: Policy, plugin: "PolicyPlugin", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.plugin = plugin

    def collect(self) -> Iterator[pytest.Collector]:
        if self.plugin.settings.selftest:
            yield SelftestCollector.from_parent(self, name="selftest")
            return
        for target in self.plugin.targets_of(self.policy):
            yield TargetCollector.from_parent(self, name=target)


class TargetCollector(pytest.Collector):
    """A policy on one target."""

    parent: PolicyCollector

    def collect(self) -> Iterator[pytest.Item]:
        yield PolicyItem.from_parent(
            self,
            name=self.parent.policy.folder.name,
            policy=self.parent.policy,
            plugin=self.parent.plugin,
        )


class PolicyItem(pytest.Item):
    """One policy on one target."""

    parent: TargetCollector

    def __init__(self, *, policy: Policy, plugin: "PolicyPlugin", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.plugin = plugin
        self.target = self.parent.name
        self.result: Result | None = None
        self.add_marker("containerpolicy")
        self.add_marker(f"policy_{policy.challenge}")
        self.extra_keyword_matches.update((policy.id, self.target, *policy.data.title.split()))

    def setup(self) -> None:
        """Judge; what can't be judged ends here as an error, what needs no judging as a skip."""
        self.result = self._judge()
        if self.plugin.is_measured(self.policy, self.target):
            self.result = replace(self.result, assumed="")
        self.user_properties.extend(_properties(self.result))
        if self.result.verdict == "not applicable":
            pytest.skip(headline(self.result).partition(": ")[2])
        if self.result.verdict == "not evaluated":
            self._cannot_look(headline(self.result), self.plugin.settings.skip_unreadable)

    def runtest(self) -> None:
        result = self.result
        if result and result.assumed:
            self.add_report_section("call", "assumed", result.assumed)
        if result and result.figures and result.verdict != "failed":
            self.add_report_section("call", "measured", printable("\n\n".join(result.figures)))
        if result is None or result.verdict == "failed":
            raise PolicyFailed(describe(result) if result else "")
        if result.waived:
            waived = [
                f"{finding.subject}: {waiver.data.reason}" for finding, waiver in result.waived
            ]
            self.add_report_section("call", f"waived ({len(waived)})", printable("\n".join(waived)))

    def _judge(self) -> Result:
        settings = self.plugin.settings
        needed = self.policy.level
        if not is_allowed(needed, settings.level):
            return self._not_evaluated(f"needs --cp-level={needed}, this run has {settings.level}")
        try:
            model = self.plugin.readings.model(self.target)
        except Unreachable as error:
            result = self._not_evaluated(str(error))
            self.user_properties.extend(_properties(result))
            self._cannot_look(headline(result), settings.skip_unreachable)
        laboratories = self.plugin.laboratories
        lab = laboratories.of(self.target) if needed != "observe" else None
        covers = laboratories.covers(self.policy, self.target)
        if covers and (absent := self._absent(model)):
            return self._not_evaluated(absent)
        return evaluate(
            self.policy,
            model,
            self.plugin.waivers,
            covers=covers,
            lab=lab,
            assuming=self.plugin.may_assume(self.policy, self.target),
        )

    def _absent(self, model: Model) -> str:
        """What the URI names and nobody deployed: misspelt, it must not read as a pass."""
        workloads = {(one.kind, one.name) for one in model.all(Workload)}
        absent = self.plugin.readings.targets[self.target].absent(workloads)
        return absent and "; ".join([absent, *map(str, model.gaps(Workload))])

    def _not_evaluated(self, gap: str) -> Result:
        return Result(
            policy=self.policy,
            target=self.target,
            platform="",
            verdict="not evaluated",
            gaps=(gap,),
        )

    def _cannot_look(self, text: str, skip: bool) -> NoReturn:
        if skip:
            pytest.skip(text)
        raise NotEvaluated(text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return _story(excinfo) or super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.policy.file, 0, f"{self.policy.id} on {self.target}"


class SelftestCollector(pytest.Collector):
    """A policy's own examples."""

    parent: PolicyCollector

    def collect(self) -> Iterator[pytest.Item]:
        from pytest_containerpolicy.examples import find_examples

        policy = self.parent.policy
        for example in find_examples(policy):
            yield ExampleItem.from_parent(
                self, name=example.file.name, policy=policy, example=example
            )


class ExampleItem(pytest.Item):
    """One example: its file name says which verdict must come out, its comments which findings."""

    def __init__(self, *, policy: Policy, example: "Example", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.example = example
        self.add_marker("containerpolicy")

    def runtest(self) -> None:
        from pytest_containerpolicy.examples import problems

        found = problems(self.policy, self.example)
        if found:
            raise PolicyFailed("\n".join((f"{self.example.file}: {found[0]}", *found[1:])))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return _story(excinfo) or super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.example.file, 0, f"{self.policy.id} example {self.name}"


class PolicyPlugin:
    """The part of the plugin that is there only when a run judges something."""

    def __init__(
        self,
        settings: Settings,
        policies: Sequence[Policy],
        readings: Readings,
        laboratories: Laboratories,
        waivers: Sequence[Waiver],
    ) -> None:
        self.settings = settings
        self.policies = policies
        self.readings = readings
        self.laboratories = laboratories
        self.waivers = waivers
        self._by_file = {policy.file: policy for policy in policies}
        self._chosen: set[tuple[str, str]] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember what is judged at all: `-k`, `-m` and `--lf` leave items out."""
        items = (item for item in session.items if isinstance(item, PolicyItem))
        self._chosen = {(item.policy.id, item.target) for item in items}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        """Show what ends an item in its setup as `repr_failure` shows what fails it."""
        report = yield
        if isinstance(item, PolicyItem) and call.excinfo and report.failed:
            report.longrepr = _story(call.excinfo) or report.longrepr
        return report

    def targets_of(self, policy: Policy) -> list[str]:
        """The targets that a policy may have something to say about.

        What a snapshot holds is not known before it is read; experiments need a live target.
        """
        return [
            target.id
            for target in self.readings.targets.values()
            if (target.platform is None or target.platform in policy.data.platforms)
            and (target.is_live or not policy.is_experiment)
        ]

    def may_assume(self, policy: Policy, target: str) -> bool:
        """Whether a pass may rest on what nobody has looked at: not in an audit."""
        return self.settings.profile != "audit" or self.is_measured(policy, target)

    def is_measured(self, policy: Policy, target: str) -> bool:
        """Whether this run finds out itself what a policy assumes, of all that it judges."""
        chosen = (policy.data.measured_by, target) in self._chosen
        return chosen and not self.readings.targets[target].workloads

    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> PolicyCollector | None:
        policy = self._by_file.get(file_path)
        if policy is None:
            return None
        outside = not file_path.is_relative_to(parent.config.rootpath)
        return PolicyCollector.from_parent(
            parent,
            name=file_path.name,
            path=file_path,
            nodeid=f"policies/{policy.id}/{file_path.name}"
            if outside
            else _relative(file_path, parent),
            policy=policy,
            plugin=self,
        )


def _story(excinfo: pytest.ExceptionInfo[BaseException]) -> Story | None:
    if isinstance(excinfo.value, PolicyFailed | NotEvaluated | ContainerPolicyError):
        return Story(str(excinfo.value))
    return None


def _relative(file: Path, parent: pytest.Collector) -> str:
    return file.relative_to(parent.config.rootpath).as_posix()


def _properties(result: Result) -> list[tuple[str, object]]:
    return [
        ("policy.id", result.policy.id),
        ("policy.severity", result.policy.data.severity),
        ("policy.category", result.policy.challenge),
        ("policy.target", result.target),
        ("policy.verdict", result.verdict),
        ("policy.objects", str(result.judged)),
        ("policy.findings", str(len(result.findings))),
        ("policy.waived", str(len(result.waived))),
        ("policy.waivers", "\n".join(waiver.place for _, waiver in result.waived)),
        ("policy.gaps", printable("\n".join(result.gaps))),
        ("policy.fix", result.policy.fix_for(result.platform)),
        ("policy.figures", printable("\n\n".join(result.figures))),
        ("policy.assumed", result.assumed),
    ]
