"""Programs of a host that listen beside a published port: forwarders to its container, or others.

Who forwards answers as the container does. A container that itself answers differently each time,
or not at all, can't be told from others in this way.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from pytest_containerpolicy.experiments.prober_streams import LineStream
from pytest_containerpolicy.experiments.published import Publication
from pytest_containerpolicy.experiments.reach import Probe, ask

Place = tuple[Publication, str]
_QUESTION = "GET / HTTP/1.0\r\n\r\n"
# What differs from one second to the next says nothing of who answers.
_CHANGES = b"date:"


def lookalikes(
    stream: Callable[[], LineStream], places: Sequence[Place]
) -> tuple[frozenset[Place], frozenset[Place]]:
    """At which of these addresses of the host the container answers, and where that is unclear.

    Raises `CannotLook` if the prober can't tell.
    """
    questions = [
        Probe(id=f"{number}-{host}", protocol="tcp", host=host, port=port, payload=_QUESTION)
        for number, (one, address) in enumerate(places)
        for host, port in (
            (one.address, one.inside),
            (address, one.port),
            (one.address, one.inside),
        )
    ]
    answers = [
        _lasting(found.detail.answer) for found in (ask(stream(), questions) if places else [])
    ]
    verdicts = {
        place: is_alike((answers[3 * n], answers[3 * n + 2]), answers[3 * n + 1])
        for n, place in enumerate(places)
    }
    return _those(verdicts.items(), True), _those(verdicts.items(), None)


def is_alike(own: Collection[bytes], other: bytes) -> bool | None:
    """Whether an answer is one of those that a container gives; None where that can't be told."""
    if other and other in own:
        return True
    return False if len(set(own)) == 1 and other not in own else None


def _those(verdicts: Iterable[tuple[Place, bool | None]], wanted: bool | None) -> frozenset[Place]:
    return frozenset(place for place, verdict in verdicts if verdict is wanted)


def _lasting(answer: bytes) -> bytes:
    lines = answer.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.lower().startswith(_CHANGES))
