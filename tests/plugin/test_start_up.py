"""What the plugin costs a run that does not use it."""

import subprocess
import sys

HEAVY = ("docker", "kubernetes", "msgspec", "yaml", "rich", "testinfra.host")
PROGRAM = """
import sys
import pytest_containerpolicy.plugin
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_idle_plugin_imports_nothing_heavy() -> None:
    """Importing the plugin imports neither clients nor the model."""
    command = [sys.executable, "-c", PROGRAM, *HEAVY, "pytest_containerpolicy.model"]

    assert (
        "[]" == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    )
