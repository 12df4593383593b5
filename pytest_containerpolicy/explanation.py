"""One policy in full, for the terminal."""

import yaml
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from pytest_containerpolicy.experiments.registry import Experiment
from pytest_containerpolicy.policies import Policy


def explanation(policy: Policy) -> RenderableType:
    """Everything that a policy says of itself."""
    data = policy.data
    facts = f"  {data.severity} · {data.evidence} · {', '.join(data.platforms)}"
    head = Text.assemble((policy.id, "bold"), facts)
    parts: list[RenderableType] = [head, Text(data.title), Text()]
    parts += [Text("why", style="bold"), _indented(Text(data.why))]
    if isinstance(policy.check, Experiment):
        parts += [Text("experiment", style="bold"), _indented(Text(_experiment(policy.check)))]
    if policy.assumption:
        parts += [Text("assumes", style="bold"), _indented(Text(policy.assumption))]
    parts += [Text("fix", style="bold")]
    parts += [_indented(Text(line)) for line in _fixes(policy)]
    for platform, patch in data.patches.items():
        where = "container" if policy.subject == "containers" else "object"
        parts += [
            Text(f"patch of the {where} on {platform}", style="bold"),
            _indented(_yaml(patch)),
        ]
    parts += [Text("profiles", style="bold"), _indented(Text(_profiles(policy)))]
    parts += [_indented(Text(line)) for line in (*data.references, *data.standards)]
    return Group(*parts)


def _experiment(experiment: Experiment) -> str:
    return f"{experiment.does} (--cp-level={experiment.level})"


def _fixes(policy: Policy) -> list[str]:
    fix = policy.data.fix
    return [fix] if isinstance(fix, str) else [f"{name}: {text}" for name, text in fix.items()]


def _profiles(policy: Policy) -> str:
    lines = []
    for name, params in policy.data.profiles.items():
        values = ", ".join(f"{k}={v}" for k, v in (policy.data.params | params).items())
        lines.append(f"{name}{f' ({values})' if values else ''}")
    return ", ".join(lines)


def _yaml(content: object) -> RenderableType:
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=False).rstrip()
    return Syntax(text, "yaml", background_color="default")


def _indented(part: RenderableType) -> RenderableType:
    return Padding(part, (0, 0, 0, 2))
