"""The few fields of a certificate that clients look at, read from DER.

The standard library shows them only of certificates that it trusts.
https://www.rfc-editor.org/rfc/rfc5280#section-4.1
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook

_IDENTIFIER = 0x06
_UTC_TIME = 0x17
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")
_VALIDITY = 3
Element = tuple[int, bytes]


class Certificate(Struct, frozen=True):
    """What a certificate is for, by DNS name or address, and when it is valid."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime

    def is_for(self, host: str) -> bool:
        """Whether clients take it for a host: `*` stands for exactly one label, the first.

        https://www.rfc-editor.org/rfc/rfc9525#section-6.3
        """
        wanted = host.lower().rstrip(".")
        return any(_matches(name.lower(), wanted) for name in self.names)


def read_certificate(der: bytes) -> Certificate:
    """A certificate's names and time. Raises `CannotLook` if it is none."""
    try:
        ((_, whole),) = _elements(der)
        fields = [field for field in _elements(next(_elements(whole))[1]) if field[0] != _VERSION]
        not_before, not_after = map(_time, _elements(fields[_VALIDITY][1]))
        extensions = next((content for tag, content in fields if tag == _EXTENSIONS), b"")
        return Certificate(tuple(_names(extensions)), not_before, not_after)
    except (ValueError, IndexError, StopIteration) as error:
        raise CannotLook(f"the certificate shown makes no sense: {error}") from None


def _elements(content: bytes) -> Iterator[Element]:
    """The elements that stand side by side, each a tag and its content."""
    place = 0
    while place < len(content):
        tag, length, place = content[place], content[place + 1], place + 2
        if length > 0x7F:
            size = length & 0x7F
            length, place = int.from_bytes(content[place : place + size]), place + size
        if place + length > len(content):
            raise ValueError("an element is cut")
        yield tag, content[place : place + length]
        place += length


def _time(element: Element) -> datetime:
    tag, content = element
    text = content.decode("ascii")
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def _names(extensions: bytes) -> Iterator[str]:
    for _, listed in _elements(extensions):
        for _, extension in _elements(listed):
            parts = list(_elements(extension))
            if parts[0] != (_IDENTIFIER, _ALTERNATIVE_NAMES):
                continue
            for tag, name in _elements(next(_elements(parts[-1][1]))[1]):
                if tag == _DNS_NAME:
                    yield name.decode("ascii")
                elif tag == _IP_ADDRESS:
                    yield str(ip_address(name))


def _matches(name: str, host: str) -> bool:
    if not name.startswith("*."):
        return name == host
    label, dot, parent = host.partition(".")
    return bool(label and dot) and parent == name.removeprefix("*.")
