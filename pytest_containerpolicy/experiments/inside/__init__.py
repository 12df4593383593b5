"""What is in force inside running containers, read from there.

in_every_copy(container, lab, lambda copy: differences(look_into(copy, lab)))
"""

from pytest_containerpolicy.experiments.inside.compose_files import declared_in_files
from pytest_containerpolicy.experiments.inside.copies import (
    FROM_INSIDE,
    Copy,
    Document,
    keeps_running,
)
from pytest_containerpolicy.experiments.inside.mounts import MountPoint
from pytest_containerpolicy.experiments.inside.processes import CAPABILITIES
from pytest_containerpolicy.experiments.inside.survey import (
    Sections,
    few,
    in_every_copy,
    read,
    read_as,
)
from pytest_containerpolicy.experiments.inside.vitals import Vitals, look_into

__all__ = [
    "CAPABILITIES",
    "FROM_INSIDE",
    "Copy",
    "Document",
    "MountPoint",
    "Sections",
    "Vitals",
    "declared_in_files",
    "few",
    "in_every_copy",
    "keeps_running",
    "look_into",
    "read",
    "read_as",
]
