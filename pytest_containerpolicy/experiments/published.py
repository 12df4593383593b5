"""What is published and where it answers: the facts, and what is wrong about them."""

from collections.abc import Iterator

from msgspec import Struct

from pytest_containerpolicy.experiments.docker_lab import Document

REACHED = ("open", "answered")
REFUSED = "refused"
# No outcome of a probe: whoever answers there is another machine.
ABSENT = "not an address of the host"
EVERYWHERE = ("0.0.0.0", "::", "")


class Publication(Struct, frozen=True, kw_only=True):
    """A port of the host that leads to a container's port `inside`; `bound` to some addresses.

    `address` is the container's own, empty if it has none.
    """

    workload: str
    container: str
    inside: int
    protocol: str
    port: int
    bound: tuple[str, ...]
    address: str = ""

    def covers(self, address: str) -> bool:
        """Whether it is bound to an address of the host."""
        everywhere = "::" if ":" in address else "0.0.0.0"
        return address in self.bound or everywhere in self.bound

    @property
    def exact(self) -> tuple[str, ...]:
        """The addresses that it is bound to one by one, and not with all others."""
        return tuple(address for address in self.bound if address not in EVERYWHERE)

    @property
    def on_loopback_only(self) -> bool:
        """Whether it is meant for programs on the host alone."""
        return all(is_loopback(address) for address in self.bound)

    def __str__(self) -> str:
        return f"port {self.port}/{self.protocol}"


class Reach(Struct, frozen=True, kw_only=True):
    """What became of asking for one publication: outcomes by address, and at `inside` itself.

    `elsewhere` are places where it must not answer: in words, with the outcome. Where it is
    `unclear` another program of the host listens, of which nothing shows whether it forwards.
    """

    publication: Publication
    inside: str
    on_host: dict[str, str]
    elsewhere: dict[str, str]
    unclear: tuple[str, ...] = ()

    @property
    def is_listening(self) -> bool | None:
        """Whether a program in the container listens; None where that can't be told."""
        if self.inside in REACHED:
            return True
        return False if self.inside == REFUSED else None

    @property
    def closed(self) -> dict[str, str]:
        """The addresses that it is bound to and does not answer on.

        IPv6's loopback is left out: without a userland proxy nothing leads on from there.
        """
        return {
            address: outcome
            for address, outcome in self.on_host.items()
            if self.publication.covers(address) and outcome not in REACHED and address != "::1"
        }

    @property
    def exposed(self) -> list[str]:
        """Where it answers though it is not bound there."""
        undeclared = {a: o for a, o in self.on_host.items() if not self.publication.covers(a)}
        places = undeclared | self.elsewhere
        return [place for place, outcome in places.items() if outcome in REACHED]

    @property
    def beyond_host(self) -> list[str]:
        """The addresses on which it answers that are not the host's loopback."""
        return [a for a, o in self.on_host.items() if o in REACHED and not is_loopback(a)]

    def __str__(self) -> str:
        reached = sum(outcome in REACHED for outcome in self.on_host.values())
        return (
            f"{self.publication} of {self.publication.container}, bound to"
            f" {', '.join(self.publication.bound)}: answers on {reached} of {len(self.on_host)}"
            f" addresses of the host; {self.publication.inside} inside: {self.inside}"
        )


def publications(workload: str, container: Document) -> Iterator[Publication]:
    """What a running container publishes, as the engine has it in force."""
    networks = container["NetworkSettings"].get("Networks") or {}
    addresses = [one["IPAddress"] for one in networks.values() if one.get("IPAddress")]
    for inside, bindings in (container["NetworkSettings"].get("Ports") or {}).items():
        number, _, protocol = inside.partition("/")
        bound: dict[int, list[str]] = {}
        for binding in bindings or ():
            bound.setdefault(int(binding["HostPort"]), []).append(binding["HostIp"] or "0.0.0.0")
        for port, on in bound.items():
            yield Publication(
                workload=workload,
                container=container["Name"].removeprefix("/"),
                inside=int(number),
                protocol=protocol,
                port=port,
                bound=tuple(sorted(on)),
                address=next(iter(addresses), ""),
            )


def is_loopback(address: str) -> bool:
    """Whether an address is one that only the host itself has."""
    return address.startswith("127.") or address == "::1"
