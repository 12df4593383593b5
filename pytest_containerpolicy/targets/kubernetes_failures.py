"""Why a request to an API server failed, in one line that says what to check."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from urllib3 import Retry, Timeout, exceptions

from pytest_containerpolicy.targets.uri import Timeouts

FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
GONE: Final = 410
_MAX_CHARACTERS = 300
_TRIES = 3
_BACKOFF_SECONDS = 0.3
_RETRIED = (429, 500, 502, 503, 504)
_REASONS = {
    401: "credentials rejected (401): the token or certificate is invalid or has expired",
    FORBIDDEN: "forbidden (403)",
    NOT_FOUND: "not served (404)",
    GONE: "the list changed while it was read (410)",
    429: "too many requests (429)",
}


class RequestFailed(Exception):
    """One request without a whole answer. `status` is 0 if the server gave none.

    `message` is the server's own, where it gave one, and `causes` its reasons by their kind.
    """

    def __init__(
        self,
        reason: str,
        status: int = 0,
        message: str = "",
        causes: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.message = message
        self.causes = causes

    @classmethod
    def from_status(
        cls, status: int, message: str, causes: Iterable[tuple[str, str]] = ()
    ) -> "RequestFailed":
        """A refusal; `message` and `causes` are what the server's Status object says."""
        said = f": {one_line(message)}" if message else ""
        reason = _REASONS.get(status) or f"HTTP status {status}{said}"
        causes = tuple((one_line(kind), one_line(text)) for kind, text in causes)
        return cls(reason, status, one_line(message), causes)


def one_line(text: str) -> str:
    """Text of others, safe to print: one line, no control characters, bounded."""
    words = " ".join(text.split())
    line = "".join(c for c in words if c.isprintable())
    return line if len(line) <= _MAX_CHARACTERS else line[:_MAX_CHARACTERS] + "..."


def retries(timeouts: Timeouts) -> Retry:
    """Three tries with back-off on 429, 5xx and broken connections, not on silence.

    A Retry-After is honoured up to the read timeout.
    """

    class BoundedRetry(Retry):
        def get_retry_after(self, response: Any) -> float | None:
            seconds = super().get_retry_after(response)
            return None if seconds is None else min(seconds, timeouts.read)

        def increment(
            self,
            method: str | None = None,
            url: str | None = None,
            response: Any = None,
            error: Exception | None = None,
            *pool_and_stacktrace: Any,
            **named: Any,
        ) -> "BoundedRetry":
            # A server that was silent for a whole timeout would be waited for thrice.
            if isinstance(error, exceptions.TimeoutError) and not _is_refused(error):
                raise error
            return super().increment(method, url, response, error, *pool_and_stacktrace, **named)

    return BoundedRetry(
        total=_TRIES - 1,
        status_forcelist=_RETRIED,
        backoff_factor=_BACKOFF_SECONDS,
        raise_on_status=False,
    )


def _is_refused(error: Exception) -> bool:
    # A refused connection is a timeout by inheritance only.
    return isinstance(error, exceptions.NewConnectionError)


def explain(error: Exception, timeout: Timeout) -> RequestFailed:
    """What an error of the HTTP client means to the user."""
    cause = getattr(error, "reason", None) or error
    for kind, meaning in _MEANINGS:
        if isinstance(cause, kind):
            return RequestFailed(meaning(cause, timeout))
    # Not its text: the HTTP client's errors about headers quote the credentials.
    return RequestFailed(
        f"no request could be made ({type(cause).__name__}):"
        " check the server and the credentials in the kubeconfig"
    )


def _tls(error: exceptions.SSLError) -> str:
    text = _innermost(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("CERTIFICATE_VERIFY_FAILED] ")[2] or text
        return f"{reason}: check certificate-authority in the kubeconfig"
    return f"no TLS connection: {text}"


def _innermost(error: BaseException) -> str:
    """The operating system's or OpenSSL's own words, without what the client wraps them in."""
    while isinstance(cause := error.__cause__ or error.__context__, OSError):
        error = cause
    return one_line(getattr(error, "strerror", None) or str(error))


_CHECK = "check that the cluster runs and this machine may reach it"
# Subclasses stand before their bases.
_MEANINGS: Final[tuple[tuple[type[Exception], Callable[[Any, Timeout], str]], ...]] = (
    (exceptions.SSLError, lambda error, _: _tls(error)),
    (exceptions.ProxyError, lambda error, _: f"proxy: {_innermost(error.original_error)}"),
    (
        exceptions.NameResolutionError,
        lambda *_: "host name can't be resolved: check the server in the kubeconfig",
    ),
    (exceptions.NewConnectionError, lambda error, _: f"{_innermost(error)}: {_CHECK}"),
    (
        exceptions.ConnectTimeoutError,
        lambda _, timeout: f"no connection within {timeout.connect_timeout:g} s: {_CHECK}",
    ),
    (
        exceptions.ReadTimeoutError,
        lambda _, timeout: f"no answer within {timeout.read_timeout:g} s",
    ),
    (exceptions.HTTPError, lambda error, _: f"the connection broke: {_innermost(error)}"),
)
