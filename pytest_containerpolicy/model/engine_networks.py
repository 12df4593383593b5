"""Which networks a container of an engine is on, and which of its ports are published where."""

from collections.abc import Mapping

from pytest_containerpolicy.model.engine_containers import Surroundings, parse_port, ports_of
from pytest_containerpolicy.model.network import PublishedPort
from pytest_containerpolicy.targets import docker_documents as docker

_EVERY_ADDRESS = ("0.0.0.0", "::")


def networks_of(document: docker.Container) -> tuple[str, ...]:
    """The names of the networks that it joined."""
    settings = document.network_settings
    return tuple(sorted((settings.networks if settings else None) or ()))


def on_host_network(document: docker.Container) -> bool:
    """Whether it shares the host's network, so that nothing is published."""
    return document.host_config.network_mode == "host"


def on_default_bridge(document: docker.Container) -> bool:
    """Whether it joined the engine's default bridge."""
    settings = document.network_settings
    if settings is None or settings.networks is None:
        return document.host_config.network_mode in ("", "default", "bridge")
    return "bridge" in settings.networks


def network_holder(
    document: docker.Container, surroundings: Surroundings
) -> docker.Container | None:
    """The container whose network it uses: mostly itself. None for one that was not read."""
    holder: docker.Container | None = document
    for _ in surroundings.containers:
        if holder is None or not (name := shared_network(holder)):
            break
        holder = surroundings.containers.get(name)
    return holder


def shared_network(document: docker.Container) -> str:
    """The id or name of the container whose network it shares, empty if it has its own."""
    return document.host_config.network_mode.partition("container:")[2]


def published_ports(
    document: docker.Container, surroundings: Surroundings
) -> tuple[PublishedPort, ...]:
    """The host's ports that lead to it; on the host's network and on none nothing is published."""
    if document.host_config.network_mode in ("host", "none"):
        return ()
    host, default = document.host_config, _binding_address(document, surroundings.networks)
    bound = [
        _published(port, binding, address)
        for port, bindings in sorted((host.port_bindings or {}).items())
        if (address := _bound_to(document, port, default)) is not None
        for binding in bindings or ()
    ]
    if host.publish_all_ports:
        known = {(port.container_port, port.protocol) for port in bound}
        bound += [
            PublishedPort(
                container_port=port.number,
                address=default,
                protocol=port.protocol,
                path="HostConfig.PublishAllPorts",
            )
            for port in ports_of(*(document.config.exposed_ports or ()))
            if (port.number, port.protocol) not in known
        ]
    return tuple(bound)


def shared_ports(
    document: docker.Container, surroundings: Surroundings
) -> tuple[PublishedPort, ...]:
    """The host's ports that lead to the container whose network it shares."""
    holder = network_holder(document, surroundings)
    if holder is None or holder is document:
        return ()
    return published_ports(holder, surroundings)


def _binding_address(document: docker.Container, networks: Mapping[str, docker.Network]) -> str:
    """Where ports without an address are bound: its bridge network's choice, if they agree on one.

    https://docs.docker.com/engine/network/drivers/bridge/#default-host-binding-address
    """
    options = [networks[name].options for name in networks_of(document) if name in networks]
    addresses = {one.host_binding or "" for one in options if one}
    address = addresses.pop() if len(addresses) == 1 else ""
    return "" if address in _EVERY_ADDRESS else address


def _bound_to(document: docker.Container, port: str, default: str) -> str | None:
    """Where a port without an address is bound; None if it is not published.

    While a container runs the engine tells: a container on internal networks publishes nothing.
    """
    settings, state = document.network_settings, document.state
    if settings is None or settings.ports is None or state is None or state.status != "running":
        return default
    addresses = [binding.host_ip for binding in settings.ports.get(port) or ()]
    if not addresses:
        return None
    return "" if set(_EVERY_ADDRESS) & set(addresses) else addresses[0]


def _published(port: str, binding: docker.PortBinding, default: str) -> PublishedPort:
    number, protocol = parse_port(port)
    # A range leaves the choice to the engine.
    first, _, last = (binding.host_port or "0").partition("-")
    return PublishedPort(
        container_port=number,
        number=int(first) or None if not last else None,
        choices=int(last) - int(first) + 1 if last else None,
        address=binding.host_ip or default,
        protocol=protocol,
        path=f"HostConfig.PortBindings.{port}",
    )
