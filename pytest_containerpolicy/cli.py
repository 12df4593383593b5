"""The `containerpolicy` command: audit, explain, snapshot, restore, ... - thin over the rest."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_containerpolicy.errors import ContainerPolicyError, UsageError
from pytest_containerpolicy.options import RUN_PLUGIN

if TYPE_CHECKING:
    import pytest

USAGE_ERROR = 4


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 (findings, or could not look) or 4 (usage)."""
    own, passed_on = _split(list(sys.argv[1:] if arguments is None else arguments))
    options = _parser().parse_args(own)
    options.passed_on = passed_on
    try:
        return int(options.run(options))
    except ContainerPolicyError as error:
        print(f"containerpolicy: {error}", file=sys.stderr)
        return USAGE_ERROR


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and for `audit` pytest's: all from the first option on."""
    if arguments[:1] != ["audit"]:
        return arguments, []
    options = (n for n, word in enumerate(arguments) if word.startswith("-"))
    first = next((n for n in options if arguments[n] not in ("-h", "--help")), len(arguments))
    return arguments[:first], arguments[first:]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="containerpolicy",
        description="Judge containers by policies, from the real environment.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "audit",
        help="judge targets, read-only; without a target what is found here",
        usage="%(prog)s [TARGET ...] [OPTION ...]",
        epilog="Options: those of pytest and this plugin (--cp-profile, -k, --junitxml ...)",
    )
    command.add_argument("targets", nargs="*", metavar="TARGET", help="a target URI")
    command.set_defaults(run=audit)

    command = commands.add_parser("explain", help="what a policy asks for, why, and how to mend it")
    command.add_argument("policy", metavar="POLICY", help="an id, such as resources/memory-limit")
    command.set_defaults(run=explain)

    command = commands.add_parser("snapshot", help="read a target into a file for snapshot:FILE")
    command.add_argument("target", metavar="TARGET")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, required=True)
    command.set_defaults(run=snapshot)

    command = commands.add_parser(
        "restore", help="undo what a killed run's experiments left behind, wherever that is"
    )
    command.add_argument("--list", action="store_true", help="only say what there is to undo")
    command.add_argument(
        "--cp-prober-image",
        metavar="IMAGE",
        default="",
        help="an image with python3, in place of the one that the killed run used",
    )
    command.set_defaults(run=restore)

    command = commands.add_parser("schema", help="print the JSON Schema of policy.yaml")
    command.set_defaults(run=schema)

    command = commands.add_parser("docs", help="write a pack's README files from its policies")
    command.add_argument("pack", metavar="PACK", help="a folder of policies")
    command.add_argument(
        "--check", action="store_true", help="only say whether they are up to date"
    )
    command.set_defaults(run=docs)
    return parser


def audit(options: argparse.Namespace) -> int:
    """Judge the targets, or what is found here, with pytest."""
    import pytest

    from pytest_containerpolicy.discovery import discover

    targets = options.targets
    if not targets:
        found = discover(Path.cwd())
        targets = [uri for uri, _ in found]
        for uri, reason in found:
            print(f"found {uri}  ({reason})")
        if not found:
            raise UsageError(
                "nothing to judge here: no kube context, no Docker daemon, no Compose file and no"
                " manifests; name a target, such as k8s://CONTEXT or manifests:FOLDER"
            )
    # The user's own tests and addopts are not part of an audit; the ini's packs and waivers are.
    arguments = [f"--rootdir={Path.cwd()}", "-o", "addopts=", "-o", "testpaths="]
    arguments += ["-p", "no:cacheprovider"]
    # This package was imported before pytest could rewrite its asserts; it has none to rewrite.
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    arguments += [f"--cp-target={uri}" for uri in targets]
    return int(pytest.main([*arguments, *options.passed_on], plugins=[_PoliciesOnly()]))


class _PoliciesOnly:
    """Takes the folder's own tests out of a run."""

    def pytest_sessionstart(self, session: "pytest.Session") -> None:
        run = session.config.pluginmanager.get_plugin(RUN_PLUGIN)
        session.config.args[:] = run.args if run else []


def explain(options: argparse.Namespace) -> int:
    """Print one policy for people."""
    from rich.console import Console

    from pytest_containerpolicy.explanation import explanation
    from pytest_containerpolicy.policies import builtin_pack, load_pack, matches
    from pytest_containerpolicy.targets.uri import suggestion

    policies = load_pack(builtin_pack())
    found = [policy for policy in policies if matches(policy, options.policy)]
    if not found:
        known = [policy.id for policy in policies]
        raise UsageError(f"no policy {options.policy!r}{suggestion(options.policy, known)}")
    console = Console(soft_wrap=False)
    for policy in found:
        console.print(explanation(policy))
    return 0


def snapshot(options: argparse.Namespace) -> int:
    """Read a target and write its inventory; what could not be read is said and kept in it."""
    from pytest_containerpolicy.readings import take_inventory
    from pytest_containerpolicy.targets.uri import Timeouts, parse_target

    inventory = take_inventory(parse_target(options.target), Timeouts())
    try:
        inventory.save(options.output)
    except OSError as error:
        raise UsageError(f"{options.output}: {error.strerror}") from None
    header = inventory.header
    print(
        f"{options.output}: {header.target}, {header.objects:,} objects in {header.seconds:.2f} s"
    )
    for gap in header.unreadable:
        print(f"could not look: {gap}", file=sys.stderr)
    return 0


def restore(options: argparse.Namespace) -> int:
    """Undo what dead runs left behind; 1 if something could not be undone, or not be read."""
    from pytest_containerpolicy.experiments import restore as restoring
    from pytest_containerpolicy.targets.uri import Timeouts

    found, problems = restoring.leftovers()
    if options.list or not found:
        for entry in found:
            print(f"{entry.at}  {entry.target}  {entry.what}")
        print(f"{len(found)} changes to undo")
    else:
        problems = restoring.restore(Timeouts(), print, prober_image=options.cp_prober_image)
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


def schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema that editors use for policy.yaml."""
    import json

    from pytest_containerpolicy.policies import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def docs(options: argparse.Namespace) -> int:
    """Write, or check, the generated README files of a pack."""
    from pytest_containerpolicy.pack_docs import pack_documents
    from pytest_containerpolicy.policies import find_pack

    documents = pack_documents(find_pack(options.pack, Path.cwd()))
    stale = [
        file for file, text in documents.items() if not file.exists() or file.read_text() != text
    ]
    for file in stale:
        if options.check:
            print(
                f"{file}: out of date: run `containerpolicy docs {options.pack}`", file=sys.stderr
            )
        else:
            file.write_text(documents[file])
    return int(bool(stale) and options.check)
