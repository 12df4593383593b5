"""Which type each kind of document decodes to, per platform."""

from importlib import import_module
from typing import Any

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.inventory import Platform


def document_type(platform: Platform, kind: str) -> Any:
    """The type of the documents of a kind. Raises `UsageError` for an unknown kind."""
    types = document_types(platform)
    if kind not in types:
        raise UsageError(
            f"snapshot: {kind!r} is not a kind of {platform} ({', '.join(sorted(types))})"
        )
    return types[kind]


def document_types(platform: Platform) -> dict[str, Any]:
    """Every kind of a platform, with the type of its documents."""
    # Imported late: a run on one platform should not pay for the others.
    module = import_module(f"pytest_containerpolicy.targets.{platform}_documents")
    types: dict[str, Any] = module.DOCUMENT_TYPES
    return types
