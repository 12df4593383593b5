"""Every environment by name, for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.testbed import cluster, engine, managers
from tests.testbed.layout import Site
from tests.testbed.lease import KEPT, acquire, holders, release_everybody
from tests.testbed.sweep import sweep


@dataclass(frozen=True)
class Environment:
    """How one environment is asked, started and described."""

    site: Site
    up: Callable[[], bool]
    start: Callable[[], None]
    describe: Callable[[], str]

    def keep(self) -> bool:
        """Start it, or keep it when it is up, until `drop`; whether it had to be started."""
        return acquire(self.site, KEPT, self.up, self.start, lambda: sweep(self.site))

    def drop(self) -> None:
        """Stop it, whoever uses it."""
        release_everybody(self.site, lambda: sweep(self.site))

    def state(self) -> str:
        """One line: whether it is up, and for whom."""
        if not self.up():
            return "down"
        return f"up at {self.describe()} for {', '.join(holders(self.site)) or 'nobody'}"


def _engine(version: engine.Version) -> Environment:
    site = engine.SITES[version]
    return Environment(
        site,
        engine.engine_up(site),
        lambda: engine.start_engine(site, version),
        lambda: f"{engine.engine_at(site).url} (ports at {site.address})",
    )


ALL: Mapping[str, Environment] = {
    "engine": _engine("current"),
    "engine-oldest": _engine("oldest"),
    "swarm": Environment(
        managers.SITE,
        lambda: managers.swarm_up(managers.SITE),
        lambda: managers.start_swarm(managers.SITE),
        lambda: ", ".join(f"{m.url} ({m.address})" for m in managers.managers_of(managers.SITE)),
    ),
    "kubernetes": Environment(
        cluster.SITE,
        lambda: cluster.cluster_up(cluster.SITE),
        lambda: cluster.start_cluster(cluster.SITE),
        lambda: f"{cluster.Cluster(cluster.SITE).kubeconfig}",
    ),
}
