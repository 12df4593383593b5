"""Addresses and ports as users write them in params."""

from pytest_containerpolicy.errors import UsageError

_LARGEST_PORT = 65535


def host_and_port(text: str, param: str, default: int | None = None) -> tuple[str, int]:
    """Host and port; an IPv6 address with a port is in brackets.

    Raises `UsageError` that names the param: without a port unless there is a default, or with
    one that can't be.
    """
    host, colon, port = text.rpartition(":")
    if default is not None and (not colon or (":" in host and not host.endswith("]"))):
        return text.strip("[]"), default
    if not host or not port.isdigit() or not 0 < int(port) <= _LARGEST_PORT:
        raise UsageError(f"params.{param}: {text!r} is no address such as 192.0.2.10:443")
    return host.strip("[]"), int(port)
