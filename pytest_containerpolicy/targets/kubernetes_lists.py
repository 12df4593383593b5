"""Read one list of an API server, page by page, decoded to the fields that the model uses.

Lists are consistent reads (no `resourceVersion`): the watch cache may be behind, and a verdict on
yesterday's objects is a wrong one. Pages bound the memory, here and in the API server
(https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from pytest_containerpolicy.targets.decoders import decoder
from pytest_containerpolicy.targets.inventory import Unreadable
from pytest_containerpolicy.targets.kubernetes_connection import Connection
from pytest_containerpolicy.targets.kubernetes_documents import Kind
from pytest_containerpolicy.targets.kubernetes_failures import (
    FORBIDDEN,
    GONE,
    NOT_FOUND,
    RequestFailed,
    one_line,
)

PAGE: Final = 500
MALFORMED: Final = (ValueError, RecursionError)
_Item = TypeVar("_Item")


class ListMetadata(Struct):
    continue_: str = field(default="", name="continue")


class Page(Struct, Generic[_Item]):
    """One page of a list."""

    metadata: ListMetadata
    items: list[_Item] | None


class ObjectName(Struct):
    name: str = ""
    namespace: str = ""


class ServedResources(Struct):
    """The discovery document of a group and version (APIResourceList)."""

    resources: list[ObjectName]


class NamedObject(Struct):
    """What is left of an object that is not what its kind promises."""

    metadata: ObjectName


_AnyPage: Any = Page


class Listing(Struct, frozen=True):
    """What was read of a kind, and what was not.

    `items` is None if nothing was read: there are gaps then, or the cluster does not know the kind.
    """

    kind: Kind
    items: list[Any] | None = None
    gaps: tuple[Unreadable, ...] = ()


class Malformed(Struct, frozen=True):
    """An object that is not what the API promises."""

    namespace: str
    name: str
    reason: str


def read_list(connection: Connection, kind: Kind, namespace: str = "") -> Listing:
    """Every object of a kind, in one namespace or in all; what fails becomes a gap."""
    try:
        items, malformed = _read_twice_if_gone(connection, kind, namespace)
    except RequestFailed as failure:
        if kind.optional and failure.status in (FORBIDDEN, NOT_FOUND):
            return _optional_failed(connection, kind, namespace, failure)
        return _failed(kind, namespace, failure)
    return Listing(kind, items, tuple(_gaps(kind, malformed)))


def read_object(connection: Connection, kind: Kind, name: str) -> Listing:
    """One cluster-scoped object as a list of one; of none if there is no such object."""
    try:
        item = decoder(kind.type).decode(connection.get(f"{kind.path()}/{name}"))
    except RequestFailed as failure:
        absent = failure.status == NOT_FOUND
        return Listing(kind, []) if absent else _failed(kind, name, failure)
    except MALFORMED as error:
        return Listing(kind, [], tuple(_gaps(kind, [Malformed(name, name, str(error))])))
    return Listing(kind, [item])


def _optional_failed(
    connection: Connection, kind: Kind, namespace: str, failure: RequestFailed
) -> Listing:
    """A cluster without the add-on refuses the kind before it says that it does not know it."""
    if failure.status == NOT_FOUND or not _is_served(connection, kind):
        return Listing(kind)
    return _failed(kind, namespace, failure)


def _is_served(connection: Connection, kind: Kind) -> bool:
    """Whether discovery, which every authenticated user may read, knows the kind."""
    try:
        served = decoder(ServedResources).decode(connection.get(f"/apis/{kind.group_version}"))
    except RequestFailed as failure:
        return failure.status != NOT_FOUND
    except MALFORMED:
        return True
    return any(resource.name == kind.plural for resource in served.resources)


def _failed(kind: Kind, namespace: str, failure: RequestFailed) -> Listing:
    needs = {
        FORBIDDEN: f"get,list on {kind.resource}",
        NOT_FOUND: f"an API server that serves {kind.group_version}",
    }.get(failure.status, "")
    gap = Unreadable(kind.plural, failure.reason, namespace or None, needs)
    return Listing(kind, None, (gap,))


def _read_twice_if_gone(
    connection: Connection, kind: Kind, namespace: str
) -> tuple[list[Any], list[Malformed]]:
    try:
        return _read_pages(connection, kind, namespace)
    except RequestFailed as failure:
        if failure.status != GONE:
            raise
    # A continue token lives for minutes. Pages of two moments are not one list: start again.
    return _read_pages(connection, kind, namespace)


def _read_pages(
    connection: Connection, kind: Kind, namespace: str
) -> tuple[list[Any], list[Malformed]]:
    items: list[Any] = []
    malformed: list[Malformed] = []
    query: dict[str, str | int] = {"limit": PAGE}
    while True:
        page = _decode(kind, connection.get(kind.path(namespace), query), malformed)
        items += page.items or ()
        if not page.metadata.continue_:
            return items, malformed
        query["continue"] = page.metadata.continue_


def _decode(kind: Kind, content: bytes, malformed: list[Malformed]) -> Page[Any]:
    try:
        return _decode_page(kind.type, content)
    except msgspec.ValidationError:
        return _decode_one_by_one(kind, content, malformed)
    except MALFORMED as error:
        raise RequestFailed(f"the answer is no whole list: {one_line(str(error))}") from None


def _decode_page(item_type: Any, content: bytes) -> Page[Any]:
    page: Page[Any] = decoder(_AnyPage[item_type]).decode(content)
    return page


def _decode_one_by_one(kind: Kind, content: bytes, malformed: list[Malformed]) -> Page[Any]:
    try:
        page = _decode_page(Raw, content)
    except MALFORMED as error:
        raise RequestFailed(f"the answer is no whole list: {one_line(str(error))}") from None
    items = []
    for raw in page.items or ():
        try:
            items.append(decoder(kind.type).decode(raw))
        except MALFORMED as error:
            malformed.append(Malformed(*_name_of(raw), one_line(str(error))))
    return Page(page.metadata, items)


def _name_of(raw: Raw) -> tuple[str, str]:
    try:
        metadata = decoder(NamedObject).decode(raw).metadata
    except MALFORMED:
        return "", "without a readable name"
    return metadata.namespace, metadata.name


def _gaps(kind: Kind, malformed: Iterable[Malformed]) -> Iterator[Unreadable]:
    by_namespace: defaultdict[str, list[Malformed]] = defaultdict(list)
    for item in malformed:
        by_namespace[item.namespace].append(item)
    for namespace, items in by_namespace.items():
        more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
        reason = f"{kind.name} {one_line(items[0].name)} is malformed: {items[0].reason}{more}"
        yield Unreadable(kind.plural, reason, namespace or None)
