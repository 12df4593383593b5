"""Which network a Compose service is on, and which of its ports the engine publishes.

Measured with Docker Compose 2.40.3 on engines 20.10 and 29.0: on the host's network, on none and
on internal networks only, `ports` publishes nothing; a network's `host_binding_ipv4` is the
address of the ports that name none; `network_mode: default` is the default bridge.
"""

from pytest_containerpolicy.model.network import PublishedPort
from pytest_containerpolicy.targets import compose_documents as compose

_DEFAULT_BRIDGE = ("bridge", "default")
_SERVICE = "service:"


def network_mode(project: compose.Project, name: str) -> str:
    """The mode that decides on a service's network, that of the service whose network it shares."""
    service = project.services.get(_holder(project, name))
    return service.network_mode if service else ""


def _holder(project: compose.Project, name: str) -> str:
    """The service whose network it uses: mostly itself. Empty where they refer to each other."""
    seen = set()
    while name in project.services and name not in seen:
        seen.add(name)
        mode = project.services[name].network_mode
        if not mode.startswith(_SERVICE):
            return name
        name = mode.removeprefix(_SERVICE)
    return ""


def shared_ports(project: compose.Project, name: str) -> tuple[PublishedPort, ...]:
    """The host's ports that lead to the service whose network it shares."""
    holder = _holder(project, name)
    return published_ports(project, holder) if holder not in ("", name) else ()


def on_default_bridge(project: compose.Project, name: str) -> bool:
    """Whether the service joins the engine's default bridge, not a network of the project."""
    return network_mode(project, name) in _DEFAULT_BRIDGE


def published_ports(project: compose.Project, name: str) -> tuple[PublishedPort, ...]:
    """The host's ports that lead to a service."""
    service = project.services[name]
    path = f"services.{name}.ports"
    if service.network_mode in _DEFAULT_BRIDGE:
        return tuple(_published(port, path, "") for port in service.ports)
    outward = [network for network in _networks(project, service) if not network.internal]
    if service.network_mode or not outward:
        return ()
    bindings = {network.driver_opts.host_binding for network in outward}
    address = bindings.pop() if len(bindings) == 1 else ""
    return tuple(_published(port, path, address) for port in service.ports)


def _networks(project: compose.Project, service: compose.Service) -> list[compose.Network]:
    joined = service.networks or {"default": None}
    return [project.networks.get(key, compose.Network()) for key in joined]


def _published(port: compose.Port, path: str, address: str) -> PublishedPort:
    first, _, last = (port.published or "0").partition("-")
    return PublishedPort(
        container_port=port.target,
        number=int(first) or None if not last else None,
        choices=int(last) - int(first) + 1 if last else None,
        address=port.host_ip or address,
        protocol=port.protocol.upper(),
        path=path,
    )
