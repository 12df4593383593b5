"""A policy's examples: files beside it whose names say what must come out.

`fail-<case>.<platform>.yaml` fails with exactly the findings of its `# expect:` comments;
`pass-`, `skip-` (not applicable) and `unknown-` (not evaluated) likewise.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.errors import PackError
from pytest_containerpolicy.experiments.registry import Experiment
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.patches import dump, mend
from pytest_containerpolicy.policies import POLICY_FILE, Policy
from pytest_containerpolicy.targets.inventory import Inventory, Platform, Unreadable
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from pytest_containerpolicy.targets.yaml_files import load_documents
from pytest_containerpolicy.verdicts import Result, Verdict, evaluate

EXPECTATIONS: dict[str, Verdict] = {
    "pass": "passed",
    "fail": "failed",
    "skip": "not applicable",
    "unknown": "not evaluated",
}
PLATFORMS: tuple[Platform, ...] = ("kubernetes", "compose", "docker", "swarm")
_NAME = re.compile(
    r"(pass|fail|skip|unknown)-[a-z0-9-]+\.(kubernetes|compose|docker|swarm)\.(yaml|json)"
)
_EXPECT = re.compile(r"^# expect: (.+)$", re.MULTILINE)
_UNREADABLE = re.compile(r"^# unreadable: (\S+) (.+)$", re.MULTILINE)


class Example(Struct, frozen=True):
    """One example file and what its name and comments promise."""

    file: Path
    expectation: Verdict
    platform: Platform
    findings: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]


def find_examples(policy: Policy) -> list[Example]:
    """The examples beside a policy, sorted; what an experiment finds no file can show.

    Raises `PackError` for a file that is neither policy, example nor README, and unless every
    platform has an example that passes and one that fails.
    """
    if isinstance(policy.check, Experiment):
        return []
    others = {POLICY_FILE, "README.md"}
    files = sorted(file for file in policy.folder.iterdir() if file.name not in others)
    examples = [_example(file) for file in files]
    seen = {(example.expectation, example.platform) for example in examples}
    for platform in policy.data.platforms:
        for prefix in ("pass", "fail"):
            if (EXPECTATIONS[prefix], platform) not in seen:
                raise PackError(f"{policy.file}: needs an example {prefix}-<case>.{platform}.yaml")
    return examples


def read_example(example: Example) -> Inventory:
    """The inventory that an example stands for. Raises `UsageError` if it can't be read."""
    inventory = _read(example)
    header = replace(
        inventory.header, unreadable=(*inventory.header.unreadable, *example.unreadable)
    )
    return inventory.with_header(header)


def judge_example(policy: Policy, example: Example) -> Result:
    """The verdict of a policy on one of its examples."""
    return evaluate(policy, build_model(read_example(example)))


def judge_mended(policy: Policy, example: Example, result: Result) -> Result | None:
    """The verdict after the policy's patch was applied to every finding; None without a patch."""
    patch = policy.data.patches.get(example.platform)
    if patch is None or result.verdict != "failed":
        return None
    content = [document.content for document in load_documents(example.file)]
    mended = mend(content, result.findings, build_model(read_example(example)), patch)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mended.yaml"
        file.write_text(dump(mended))
        return judge_example(policy, replace(example, file=file))


def problems(policy: Policy, example: Example) -> list[str]:
    """How the verdict differs from what the example promises, and whether the patch mends it."""
    result = judge_example(policy, example)
    found = [
        f"{finding.subject}: {finding.violation.found}, wanted {finding.violation.wanted}"
        for finding in result.findings
    ]
    lines = []
    if result.verdict != example.expectation:
        gaps = f" ({'; '.join(result.gaps)})" if result.gaps else ""
        lines.append(f"expected verdict {example.expectation}, got {result.verdict}{gaps}")
    lines += [f"expected but not found: {text}" for text in example.findings if text not in found]
    lines += [f"found but not expected: {text}" for text in found if text not in example.findings]
    mended = judge_mended(policy, example, result)
    if mended is not None and mended.verdict not in ("passed", "not applicable"):
        rest = "; ".join(f"{f.subject}: {f.violation.found}" for f in mended.findings)
        lines.append(f"patch for {example.platform} leaves it {mended.verdict}: {rest}")
    return lines


def _example(file: Path) -> Example:
    match = _NAME.fullmatch(file.name)
    if match is None:
        raise PackError(
            f"{file}: not an example's name; write <pass|fail|skip|unknown>-<case>.<platform>.yaml"
            f" with a platform of {', '.join(PLATFORMS)}"
        )
    text = file.read_text()
    return Example(
        file=file,
        expectation=EXPECTATIONS[match[1]],
        platform=match[2],  # type: ignore[arg-type]
        findings=tuple(_EXPECT.findall(text)),
        unreadable=tuple(Unreadable(kind, reason) for kind, reason in _UNREADABLE.findall(text)),
    )


def _read(example: Example) -> Inventory:
    if example.platform == "kubernetes":
        return parse_target(f"manifests:{example.file}").read(Timeouts())
    if example.platform == "compose":
        return parse_target(f"compose:{example.file}").read(Timeouts())
    from pytest_containerpolicy.targets.docker_examples import read_example_documents

    content = load_documents(example.file)[0].content
    return read_example_documents(content, example.platform, str(example.file))
