"""Which of all paths are probed: few, the same each time, and enough to judge every policy.

Each policy in each direction, each of its rules, and each node as a place where policies are
enforced, for both protocols, gets a path that shows it; the rest of the sample goes round all pods.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal
from zlib import crc32

from msgspec import Struct

from pytest_containerpolicy.experiments.network_scene import Fixture, Scene
from pytest_containerpolicy.experiments.reachability import (
    Address,
    Direction,
    End,
    Expectation,
    Pod,
)

# Where nothing of anybody's is expected: in the range that the kernel gives to clients.
LISTENER_PORT = 45871
How = Literal["connect", "listener", "dns", "datagram"]
# What a path shows, of which policy or node, in which direction, and more; by weight.
Goal = tuple[str, str, Direction, str]
_MOST_PATHS = 40_000
_LEAST_SOURCES = 10


class Path(Struct, frozen=True, kw_only=True, eq=False):
    """One connection, and what must become of it.

    `how` is what answers at the port: something that takes connections, a listener of our own,
    a name server, or something that may or may not answer a datagram.
    """

    source: Pod
    destination: End
    port: int
    protocol: str
    how: How
    expectation: Expectation
    answers: bool = False

    @property
    def denied(self) -> bool:
        """Whether it must not get through."""
        return self.expectation.allowed is False

    @property
    def place(self) -> tuple[End, int, str]:
        """The port it leads to."""
        return self.destination, self.port, self.protocol

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port}/{self.protocol}"


class Plan(Struct, frozen=True, kw_only=True):
    """What is to be probed; `listeners` are the pods in which something must listen."""

    paths: tuple[Path, ...]
    listeners: frozenset[Pod]


def make_plan(scene: Scene, probers: Iterable[Pod], samples: int) -> Plan:
    """A sample of paths: those that each policy needs, then up to `samples` of each sign."""
    planner = _Planner(scene, tuple(probers))
    planner.meet_goals()
    planner.fill(samples)
    planner.add_controls()
    return planner.plan()


class _Planner:
    """Chooses paths one by one, those first that need programs in the fewest pods of others."""

    def __init__(self, scene: Scene, probers: tuple[Pod, ...]) -> None:
        self._inhabited = set(probers)
        self._chosen: dict[Path, None] = {}
        self._needed: set[Path] = set()
        self._candidates = list(_candidates(scene, probers))
        self._by_goal: defaultdict[Goal, list[Path]] = defaultdict(list)
        for path in self._candidates:
            for goal in _goals(path):
                self._by_goal[goal].append(path)

    def meet_goals(self) -> None:
        """A path for each goal, if possible one that meets another goal already."""
        for goal in sorted(self._by_goal):
            path = min(self._by_goal[goal], key=lambda path: self._rank(path, goal))
            self._choose(path)
            self._needed.add(path)

    def fill(self, samples: int) -> None:
        """Further paths from where programs run anyway, going round the destinations."""
        for denied in (True, False):
            count = sum(path.denied is denied for path in self._chosen)
            for path in _round_robin(self._further(denied)):
                if count >= samples:
                    break
                self._choose(path)
                count += 1

    def add_controls(self) -> None:
        """For each path another that shows its port to answer, or silence is no proof."""
        allowed: defaultdict[tuple[End, int, str], list[Path]] = defaultdict(list)
        for path in self._candidates:
            if not path.denied:
                allowed[path.place].append(path)
        for path in list(self._chosen):
            if path.answers or path.how == "listener":
                continue
            others = [other for other in allowed[path.place] if other is not path]
            # Nothing is between a pod and itself. Others may be blocked, and all of them wrongly.
            own = [other for other in others if other.source is path.destination]
            if own and path in self._needed:
                self._choose(own[0])
                others = [o for o in others if o is not own[0] and self._cost(o)[0] <= 1]
            if others and not any(other in self._chosen for other in others):
                self._choose(min(others, key=self._cost))

    def plan(self) -> Plan:
        return Plan(
            paths=tuple(self._chosen),
            listeners=frozenset(
                path.destination
                for path in self._chosen
                if path.how == "listener" and isinstance(path.destination, Pod)
            ),
        )

    def _choose(self, path: Path) -> None:
        self._chosen[path] = None
        self._inhabited.add(path.source)
        if path.how == "listener" and isinstance(path.destination, Pod):
            self._inhabited.add(path.destination)

    def _rank(self, path: Path, goal: Goal) -> tuple[bool, bool, tuple[int, int]]:
        _, _, direction, _ = goal
        unsure = path.denied and not is_clear(path, direction)
        return unsure, path not in self._chosen, self._cost(path)

    def _cost(self, path: Path) -> tuple[int, int]:
        """How many programs in pods of others it takes; then a number, the same each time."""
        cost = 2 * (path.source not in self._inhabited)
        if path.how == "listener":
            cost += 1 + 2 * (path.destination not in self._inhabited)
        elif not path.answers:
            cost += 4 if path.how == "datagram" else 1
        return cost, _digest(path)

    def _further(self, denied: bool) -> Iterator[Path]:
        for path in self._candidates:
            wanted = path.denied is denied and path.expectation.basis
            if wanted and path not in self._chosen and self._cost(path)[0] <= 1:
                yield path


def _candidates(scene: Scene, probers: tuple[Pod, ...]) -> Iterator[Path]:
    """Every path of which is known what must become; of very many an even share of sources."""
    sources = [*probers, *scene.pods]
    known = frozenset(sources)
    fixtures = list(_fixtures([*sources], scene.fixtures))
    if not sources:
        return
    share = max(_LEAST_SOURCES, _MOST_PATHS // (len(fixtures) or 1))
    for number, (fixture, how) in enumerate(fixtures):
        start = number % len(sources)
        end, port, protocol = fixture.end, fixture.port, fixture.protocol
        asking = dict.fromkeys((sources[start:] + sources[:start])[:share])
        for source in [*asking, *([end] if end in known and end not in asking else [])]:
            expectation = scene.policies.expect(source, end, port, protocol)
            if expectation.allowed is not None:
                yield Path(
                    source=source,
                    destination=end,
                    port=port,
                    protocol=protocol,
                    how=how,
                    expectation=expectation,
                    answers=fixture.answers,
                )


def _fixtures(pods: list[Pod], fixtures: Iterable[Fixture]) -> Iterator[tuple[Fixture, How]]:
    """Every port of every end, and what answers there."""
    for fixture in fixtures:
        yield fixture, "dns" if fixture.protocol == "UDP" else "connect"
    for pod in pods:
        for number, protocol in dict.fromkeys((p.number, p.protocol) for p in pod.ports):
            if protocol in ("TCP", "UDP"):
                answers = protocol == "TCP" and number in pod.answering
                fixture = Fixture(end=pod, port=number, protocol=protocol, answers=answers)
                yield fixture, "connect" if protocol == "TCP" else "datagram"
        for protocol in ("TCP", "UDP"):
            yield Fixture(end=pod, port=LISTENER_PORT, protocol=protocol), "listener"


def _goals(path: Path) -> Iterator[Goal]:
    """What a path would show. Goals sort in the order of their weight."""
    for basis in path.expectation.basis:
        ref, way = basis.policy.ref.qualified_name, basis.direction
        if path.denied:
            node = path.source.node if way == "egress" else getattr(path.destination, "node", "")
            yield "3 denies on", node, way, path.protocol
            if path.protocol == "TCP":
                yield "1 denies", ref, way, ""
        else:
            yield "2 allows", ref, way, f"{basis.rule} {path.protocol}"


def is_clear(path: Path, direction: Direction) -> bool:
    """Whether a denied path that is blocked is so by what isolates in one direction, and only that.

    Where the other direction denies it as well, be it by the same policy, nobody can tell.
    """
    return all(basis.direction == direction for basis in path.expectation.basis)


def _round_robin(paths: Iterable[Path]) -> Iterator[Path]:
    """Paths of all destinations in turn."""
    queues: defaultdict[End, list[Path]] = defaultdict(list)
    for path in sorted(paths, key=_digest, reverse=True):
        queues[path.destination].append(path)
    while queues:
        for destination in list(queues):
            yield queues[destination].pop()
            if not queues[destination]:
                del queues[destination]


def _digest(path: Path) -> int:
    ends = (path.source, path.destination)
    names = [end.name if isinstance(end, Address) else f"{end.workload} {end.node}" for end in ends]
    return crc32(f"{names} {path.port} {path.protocol}".encode())
