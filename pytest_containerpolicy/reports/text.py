"""A result in words: the first line is the whole story, then the objects, then the way out."""

from textwrap import wrap

from pytest_containerpolicy.checks.registry import Finding
from pytest_containerpolicy.targets.yaml_files import locate
from pytest_containerpolicy.verdicts import Result

MOST_FINDINGS = 20
_WIDTH = 80
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != 10}


def printable(text: str) -> str:
    """Text from an environment without terminal control characters."""
    return text.translate(_ESCAPED)


def headline(result: Result) -> str:
    """One line that says it all: policy, target, how many of how many, what is wrong."""
    where = f"{result.policy.id} on {result.target}"
    if result.verdict == "failed":
        objects = len({finding.subject for finding in result.findings})
        subject = result.policy.subject
        return printable(
            f"{where}: {objects} of {result.judged} {subject} {result.policy.data.summary}"
        )
    if result.verdict == "not evaluated":
        return printable(f"{where}: not evaluated: {'; '.join(result.gaps)}")
    if result.verdict == "not applicable":
        return f"{where}: not applicable: {_reason(result)}"
    return f"{where}: passed, {result.judged} {result.policy.subject}"


def describe(result: Result) -> str:
    """The whole text of a result that did not pass."""
    lines = [headline(result), ""]
    for finding in result.findings[:MOST_FINDINGS]:
        lines.extend(_finding_lines(finding))
    rest = len(result.findings) - MOST_FINDINGS
    if rest > 0:
        lines.append(f"... and {rest} more")
    for figures in result.figures:
        lines += ["", *figures.splitlines()]
    if result.findings:
        lines += ["", *_wrapped("why  ", result.policy.data.why)]
        lines += _wrapped("fix  ", result.policy.fix_for(result.platform))
        lines.append(f"     containerpolicy explain {result.policy.id}")
    if result.verdict == "failed":
        lines.extend(f"also not looked at: {gap}" for gap in result.gaps)
    lines.extend(
        f"waiver expired on {waiver.data.until} ({waiver.place}): {finding.subject}"
        for finding, waiver in result.expired
    )
    return printable("\n".join(lines).rstrip())


def _finding_lines(finding: Finding) -> list[str]:
    violation = finding.violation
    lines = [finding.subject]
    lines += _wrapped("  found   ", violation.found)
    lines += _wrapped("  wanted  ", violation.wanted)
    if violation.why:
        lines += _wrapped("  why     ", violation.why)
    if violation.path or finding.ref.file:
        lines.append(f"  where   {where(finding)}")
    return lines


def _wrapped(label: str, text: str) -> list[str]:
    return wrap(
        text,
        _WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )


def where(finding: Finding) -> str:
    """File and line for files, then the path in the object; rendered files have no lines."""
    path, file = finding.violation.path, finding.ref.file
    if not file:
        return path
    place = f"{file}:{locate(file, finding.ref.line, path)}" if finding.ref.line else file
    return f"{place}  {path}" if path else place


def _reason(result: Result) -> str:
    if result.platform not in result.policy.data.platforms:
        return f"a policy for {', '.join(result.policy.data.platforms)}, this is {result.platform}"
    return f"0 {result.policy.subject} to judge"
