"""Read all kinds of a cluster at once, in threads, into one inventory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from pytest_containerpolicy.errors import TargetError, Unreachable
from pytest_containerpolicy.targets.inventory import Header, Inventory
from pytest_containerpolicy.targets.kubernetes_connection import Connection
from pytest_containerpolicy.targets.kubernetes_documents import BY_NAME, KINDS
from pytest_containerpolicy.targets.kubernetes_lists import Listing, read_list, read_object
from pytest_containerpolicy.targets.uri import suggestion

THREADS: Final = 8
_NAMESPACE = BY_NAME["Namespace"]
Documents = Mapping[str, Sequence[Any]]


def read_cluster(connection: Connection, namespaces: Sequence[str] = ()) -> Inventory:
    """Everything of a cluster, or of some namespaces and what all namespaces share.

    Raises `Unreachable` if nothing can be read, `TargetError` if a namespace does not exist.
    """
    version = connection.version()
    listings = _read_all(connection, namespaces)
    _require_something(connection, listings, namespaces)
    _require_namespaces(connection, listings, namespaces)
    documents = _documents(listings)
    header = Header(
        target=connection.target,
        platform="kubernetes",
        version=version,
        notes=tuple(_notes(documents, namespaces)),
        unreadable=tuple(gap for listing in listings for gap in listing.gaps),
    )
    return Inventory(header, documents)


def _read_all(connection: Connection, namespaces: Sequence[str]) -> list[Listing]:
    with ThreadPoolExecutor(THREADS) as threads:
        reading = [threads.submit(read) for read in _reads(connection, namespaces)]
        return [future.result() for future in reading]


def _reads(connection: Connection, namespaces: Sequence[str]) -> Iterator[Callable[[], Listing]]:
    for kind in KINDS:
        if not namespaces:
            yield partial(read_list, connection, kind)
        elif kind is _NAMESPACE:
            yield from (partial(read_object, connection, kind, name) for name in namespaces)
        else:
            scopes = namespaces if kind.namespaced else ("",)
            yield from (partial(read_list, connection, kind, scope) for scope in scopes)


def _documents(listings: Iterable[Listing]) -> dict[str, list[Any]]:
    documents: dict[str, list[Any]] = {}
    for listing in listings:
        if listing.items is not None:
            documents.setdefault(listing.kind.plural, []).extend(listing.items)
    return documents


def _notes(documents: Documents, namespaces: Sequence[str]) -> Iterator[str]:
    if "nodes" in documents:
        count = len(documents["nodes"])
        yield f"{count} node{'' if count == 1 else 's'}"
    if namespaces:
        yield f"namespace{'' if len(namespaces) == 1 else 's'} {', '.join(namespaces)}"


def _require_something(
    connection: Connection, listings: Sequence[Listing], namespaces: Sequence[str]
) -> None:
    if any(listing.items is not None for listing in listings):
        return
    reasons = sorted({gap.reason for listing in listings for gap in listing.gaps})
    needs = ", ".join(kind.resource for kind in KINDS if not kind.optional)
    raise Unreachable(
        f"{connection.target}: {connection.address}: no kind can be read: {'; '.join(reasons)}:"
        f" needs get,list on {needs}" + ("" if namespaces else _NAME_NAMESPACES)
    )


_NAME_NAMESPACES = (
    " in the whole cluster, or name the namespaces that you may read: ?namespace=NAME"
)


def _require_namespaces(
    connection: Connection, listings: Iterable[Listing], namespaces: Iterable[str]
) -> None:
    """A misspelt namespace lists as empty, which would pass every policy."""
    known = set()
    for listing in listings:
        if listing.kind is _NAMESPACE:
            known |= {item.metadata.name for item in listing.items or ()}
            known |= {gap.namespace for gap in listing.gaps}
    for name in namespaces:
        if name not in known:
            raise TargetError(
                f"{connection.target}: no namespace {name!r}{_others(connection, name)}"
            )


def _others(connection: Connection, name: str) -> str:
    items = read_list(connection, _NAMESPACE).items
    return suggestion(name, (item.metadata.name for item in items)) if items else ""
