"""A pack's generated files: README pages from its policies, and the schema for editors."""

import json
from pathlib import Path

import yaml

from pytest_containerpolicy.examples import Example, find_examples
from pytest_containerpolicy.experiments.registry import Experiment
from pytest_containerpolicy.policies import Pack, Policy, json_schema, load_pack
from pytest_containerpolicy.verdicts import Verdict

_NOTE = "<!-- Generated from policy.yaml by `containerpolicy docs`; edit that file instead. -->"


def pack_documents(pack: Pack) -> dict[Path, str]:
    """Each file's path and text: a page per policy, the pack's index, the JSON Schema."""
    policies = load_pack(pack)
    documents = {policy.folder / "README.md": _policy_page(policy) for policy in policies}
    documents[pack.folder / "README.md"] = _index(policies)
    schema = json.dumps(json_schema(), indent=2)
    documents[pack.folder / "policy.schema.json"] = f"{schema}\n"
    return documents


def _index(policies: list[Policy]) -> str:
    lines = [_NOTE, "", "# Policies", ""]
    challenges = dict.fromkeys(policy.challenge for policy in policies)
    for challenge in challenges:
        lines += [
            f"## {challenge.capitalize()}",
            "",
            "| policy | evidence | severity | platforms | profiles |",
        ]
        lines += ["|---|---|---|---|---|"]
        lines += [_row(policy) for policy in policies if policy.challenge == challenge]
        lines.append("")
    return "\n".join(lines)


def _row(policy: Policy) -> str:
    data = policy.data
    return (
        f"| [{data.title}]({policy.id}/README.md) `{policy.id}` | {data.evidence} | {data.severity}"
        f" | {', '.join(data.platforms)} | {', '.join(data.profiles)} |"
    )


def _policy_page(policy: Policy) -> str:
    data = policy.data
    lines = [_NOTE, "", f"# {data.title}", "", f"`{policy.id}`", ""]
    lines += ["| severity | evidence | platforms | profiles | since |", "|---|---|---|---|---|"]
    lines += [
        f"| {data.severity} | {data.evidence} | {', '.join(data.platforms)}"
        f" | {', '.join(data.profiles)} | {data.since} |",
        "",
    ]
    lines += ["## Why", "", data.why, "", "## How to fix", "", *_fixes(policy), ""]
    if policy.assumption:
        lines += ["## What it assumes", "", _sentence(policy.assumption), ""]
    if isinstance(policy.check, Experiment):
        lines += ["## What it does", "", _experiment(policy.check), ""]
    else:
        for verdict, heading in (("failed", "Fails"), ("passed", "Passes")):
            lines += _shortest(find_examples(policy), verdict, heading)  # type: ignore[arg-type]
    lines += _settings(policy)
    if data.references or data.standards:
        lines += [
            "## References",
            "",
            *(f"* {entry}" for entry in (*data.references, *data.standards)),
        ]
        lines.append("")
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}. The profile `audit` passes nothing on an assumption."


def _experiment(experiment: Experiment) -> str:
    return f"With `--cp-level={experiment.level}` it {experiment.does}."


def _fixes(policy: Policy) -> list[str]:
    fix = policy.data.fix
    if isinstance(fix, str):
        return [fix]
    return [f"* **{platform}**: {text}" for platform, text in fix.items()]


def _shortest(examples: list[Example], verdict: Verdict, heading: str) -> list[str]:
    texts = [e.file.read_text() for e in examples if e.expectation == verdict]
    return [f"## {heading}", "", "```yaml", min(texts, key=len).rstrip(), "```", ""]


def _settings(policy: Policy) -> list[str]:
    profiles = {name: policy.data.params | params for name, params in policy.data.profiles.items()}
    if not any(profiles.values()):
        return []
    text = yaml.safe_dump(profiles, sort_keys=False).rstrip()
    return ["## Parameters", "", "By profile:", "", "```yaml", text, "```", ""]
