"""The shop's web tier, brought up in a namespace of its own."""

import os

import pytest

from pytest_containerpolicy import assert_policies

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 15
      containers:
        - name: web
          image: {image}
          ports: [{{name: http, containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 1}}
          lifecycle: {{preStop: {{sleep: {{seconds: 2}}}}}}
          resources:
            requests: {{cpu: 20m, memory: 32Mi}}
            limits: {{memory: 64Mi}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: http}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: web}}
spec:
  maxUnavailable: 1
  selector: {{matchLabels: {{app: web}}}}
"""


@pytest.fixture
def shop(kube_namespace):
    """The web tier, ready."""
    kube_namespace.apply(WEB.format(image=os.environ["SHOP_IMAGE"]))
    kube_namespace.wait_ready()
    return kube_namespace


def test_web_can_be_upgraded(shop):
    """Every workload of the shop can be drained and rolled out."""
    assert_policies(shop, "upgrades")


def test_memory_limit_is_in_force(shop, pod_host):
    """The declared limit is in force inside the container."""
    host = pod_host(namespace=shop.name, workload="deploy/web")
    limits = host.run(
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
    )

    assert str(64 * 2**20) in limits.stdout.split()


def test_budget_lets_a_pod_go(shop, check_policy):
    """The one budget of the shop was judged, and a drain can empty a node."""
    result = check_policy("upgrades/budget-allows-eviction", shop)

    assert (result.verdict, result.judged) == ("passed", 1)
