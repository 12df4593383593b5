"""The policy agent's rules, computed for small worlds."""

from __future__ import annotations

from typing import Any

from tests.testbed.objects import network_policy
from tests.testbed.policy_rules import TOP, Pod, World, chains, selects


def test_selectors_mean_what_kubernetes_says() -> None:
    """The agent's selectors: empty takes all, NotIn and DoesNotExist take what lacks the key."""
    labels = {"app": "web"}

    def term(key: str, operator: str, *values: str) -> dict[str, Any]:
        return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}

    assert selects({}, labels)
    assert selects(term("tier", "NotIn", "db"), labels)
    assert selects(term("tier", "DoesNotExist"), labels)
    assert not selects(term("tier", "Exists"), labels)
    assert not selects({"matchLabels": {"app": "db"}}, labels)


def test_rules_leave_holes_out_of_a_block() -> None:
    """An ipBlock with an exception becomes the networks around the exception."""
    policy = network_policy({"ipBlock": {"cidr": "10.0.0.0/30", "except": ["10.0.0.2/32"]}})
    policy["metadata"]["namespace"] = "shop"
    pod = Pod("shop", "web", "node1", "10.1.0.9", {"app": "web"}, {})
    made = chains(World([pod], {"shop": {}}, [policy]), "node1")
    (name,) = set(made) - {TOP}
    port = "-p tcp --dport 8080"
    assert made[name] == [
        f"-s 10.0.0.0/31 {port} -j RETURN",
        f"-s 10.0.0.3/32 {port} -j RETURN",
        "-j DROP",
    ]
