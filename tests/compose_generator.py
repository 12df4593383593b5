"""Random Compose projects: sound ones mostly, with the odd value that Compose rejects."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Json = SearchStrategy[Any]
_NAMES = ("a", "b", "c")
_sizes = st.sampled_from(("64m", "1g", "1.5gb", "512", 1048576, "10 kib", "2GiB", 0, "0", 1e6, "x"))
_text_sizes = st.sampled_from(("64m", "1g", "1.5gb", "512", "10kib", "0", "5p"))
_durations = st.sampled_from(("10s", "1m30s", "500ms", "1h", "0s", "1.5h", "1d", "90"))
_cpus = st.sampled_from((0.5, "0.25", 2, "1", 0, 1.5))
_whole = st.sampled_from((0, 1, 2, "3", 10))
_booleans = st.sampled_from((True, False, "true", "false", "yes", "off"))
_ports = st.sampled_from(
    (
        80,
        "80",
        "8080:80",
        "127.0.0.1:8081:81",
        "8082-8083:82-83",
        "9000-9010:90",
        "53:53/udp",
        "[::1]:1:1",
        {"target": 84},
        {"target": 80, "published": 8080, "protocol": "tcp"},
        {"target": "85", "published": "85-90", "host_ip": "::"},
    )
)
_volumes = st.sampled_from(
    (
        "/anonymous",
        "data:/data",
        "data:/data2:ro",
        "./here:/here",
        "/abs:/abs:ro,z",
        "logs:/var/log/",
        {"type": "tmpfs", "target": "/fast", "tmpfs": {"size": "10m"}},
        {"type": "volume", "source": "data", "target": "/data"},
        {"type": "bind", "source": "./b", "target": "/b", "read_only": "true"},
        {"type": "volume", "target": "/anonymous/two"},
    )
)
_tests = st.sampled_from(("true", ["CMD", "a"], ["NONE"], ["CMD-SHELL", "b"], ["c"]))
_conditions = st.sampled_from(
    ("service_started", "service_healthy", "service_completed_successfully")
)


def _some(**fields: Json) -> Json:
    return st.fixed_dictionaries({}, optional=fields)


def _unique(items: Json, most: int = 4) -> Json:
    return st.lists(items, max_size=most, unique_by=repr)


_healthcheck = _some(
    test=_tests,
    interval=_durations,
    timeout=_durations,
    start_period=_durations,
    retries=_whole,
    disable=_booleans,
)
_update = _some(
    parallelism=_whole,
    order=st.sampled_from(("start-first", "stop-first")),
    failure_action=st.sampled_from(("pause", "rollback")),
    monitor=_durations,
)
_deploy = _some(
    replicas=_whole,
    update_config=_update,
    rollback_config=_update,
    restart_policy=_some(
        condition=st.sampled_from(("any", "none", "on-failure")), max_attempts=_whole
    ),
    resources=_some(
        limits=_some(memory=_text_sizes, cpus=_cpus, pids=_whole),
        reservations=_some(memory=_text_sizes, cpus=_cpus),
    ),
)
_logging = _some(
    driver=st.sampled_from(("json-file", "local", "syslog", "none")),
    options=_some(
        **{"max-size": st.sampled_from(("10m", "1g")), "max-file": st.sampled_from(("3", 2))}
    ),
)
_service = _some(
    image=st.sampled_from(("nginx", "app:${TAG:-1}")),
    build=st.sampled_from((".", {"context": "./x"})),
    deploy=_deploy,
    healthcheck=_healthcheck,
    logging=_logging,
    ports=_unique(_ports),
    expose=_unique(st.sampled_from((80, "81", "90-92", "53/udp"))),
    volumes=_unique(_volumes),
    tmpfs=st.sampled_from(("/run", ["/cache:size=64m,ro"], [])),
    networks=st.sampled_from(
        (["front"], {"front": None, "back": {"aliases": ["x"]}}, {}, ["default"])
    ),
    depends_on=st.one_of(
        _unique(st.sampled_from(_NAMES), 1),
        st.dictionaries(
            st.sampled_from(_NAMES), st.fixed_dictionaries({"condition": _conditions}), max_size=1
        ),
    ),
    restart=st.sampled_from(("no", "always", "on-failure:5", "unless-stopped")),
    mem_limit=_sizes,
    mem_reservation=_text_sizes,
    memswap_limit=st.sampled_from(("2g", -1, 0)),
    cpus=_cpus,
    pids_limit=st.sampled_from((100, -1, 0, "50")),
    stop_grace_period=_durations,
    stop_signal=st.sampled_from(("SIGTERM", "SIGUSR1")),
    privileged=_booleans,
    read_only=_booleans,
    user=st.sampled_from(("root", "1000")),
    profiles=st.sampled_from(([], ["never"])),
    scale=_whole,
    container_name=st.sampled_from(("fixed",)),
)


@st.composite
def projects(draw: st.DrawFn) -> dict[str, Any]:
    """A project of three services with few keys each, so that most of them are sound."""
    services = {}
    for name in _NAMES:
        whole = draw(_service)
        kept = draw(st.sets(st.sampled_from(sorted(whole)), max_size=6)) if whole else set()
        services[name] = {"image": name} | {key: whole[key] for key in sorted(kept)}
    # Later services depend on earlier ones only, or hardly any project would be sound.
    for index, name in enumerate(_NAMES):
        wanted = services[name].get("depends_on")
        if wanted and not set(wanted) <= set(_NAMES[:index]):
            del services[name]["depends_on"]
    volumes = {"data": None, "logs": {"driver": draw(st.sampled_from(("local", "other")))}}
    networks = {"front": None, "back": {"internal": draw(_booleans)}}
    return {"services": services, "volumes": volumes, "networks": networks}
