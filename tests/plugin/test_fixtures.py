"""Fixtures and helpers that need no live environment."""

import pytest

from tests.plugin.conftest import BOUNDED, WEB

SUITE = """
    import pytest
    from pytest_containerpolicy import assert_policies, check_policy

    def test_each_target(cp_target, cp_inventory):
        assert cp_target.id == cp_inventory.header.target
        assert 1 == cp_inventory.header.objects

    @pytest.mark.cp_target("manifests:b*")
    def test_one_target(cp_target):
        assert "manifests:bounded.yaml" == cp_target.id

    def test_asserting():
        assert_policies("manifests:bounded.yaml", "resources/memory-limit")
        with pytest.raises(AssertionError, match="1 of 1 containers without a memory limit"):
            assert_policies("manifests:web.yaml", "resources")

    def test_nothing_to_judge_is_no_pass():
        with pytest.raises(AssertionError, match="nothing in manifests:web.yaml"):
            assert_policies("manifests:web.yaml", "upgrades/budget-allows-eviction")

    def test_params(check_policy):
        result = check_policy("resources/memory-limit", "manifests:bounded.yaml", at_most="32Mi")
        assert "failed" == result.verdict
        assert "memory limit 64Mi" == result.findings[0].violation.found
"""


def test_user_suite(pytester: pytest.Pytester) -> None:
    """Targets parametrize, markers restrict, assertions hold whole findings."""
    (pytester.path / "web.yaml").write_text(WEB)
    (pytester.path / "bounded.yaml").write_text(BOUNDED)
    pytester.makepyfile(SUITE)
    targets = ["--cp-target=manifests:web.yaml", "--cp-target=manifests:bounded.yaml"]

    result = pytester.runpytest(*targets, "--cp-select=storage", "-k", "test_user_suite")

    result.assert_outcomes(passed=6, deselected=result.parseoutcomes()["deselected"])


def test_unknown_policy_and_target(pytester: pytest.Pytester) -> None:
    """A misspelt policy or target in a test is an error that names the nearest."""
    (pytester.path / "web.yaml").write_text(WEB)
    pytester.makepyfile(
        """
        import pytest
        from pytest_containerpolicy import assert_policies
        from pytest_containerpolicy.errors import TargetError, UsageError

        def test_mistakes(check_policy):
            with pytest.raises(UsageError, match="did you mean 'resources/memory-limit'"):
                check_policy("resources/memory-limits", "manifests:web.yaml")
            with pytest.raises(UsageError, match="no such parameter"):
                check_policy("resources/memory-limit", "manifests:web.yaml", at_least=3)
            with pytest.raises(TargetError, match="did you mean 'manifests'"):
                assert_policies("manifest:web.yaml")
        """
    )

    pytester.runpytest().assert_outcomes(passed=1)


def test_compose_project_needs_a_target(pytester: pytest.Pytester) -> None:
    """Without a target the fixture says which option is missing."""
    pytester.makepyfile("def test_it(compose_project): pass")

    result = pytester.runpytest()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*compose_project needs --cp-target compose://PROJECT"])


def test_dry_run_of_what_measures(pytester: pytest.Pytester) -> None:
    """With --cp-dry-run a fixture that measures ends its test with what it would do to what."""
    pytester.makepyfile(
        """
        class Live:
            def __init__(self, name):
                self.name = name

            def __repr__(self):
                return f"<{self.name}>"

        def test_rollout(measure_rollout):
            measure_rollout(Live("Deployment shop/web"), rate=100)
            assert False

        def test_traffic(measure_availability):
            with measure_availability(Live("Deployment shop/web")):
                assert False

        def test_manager(measure_manager_loss):
            measure_manager_loss(Live("swarm:one"), None, None)
            assert False
        """
    )

    result = pytester.runpytest("--cp-dry-run", "--cp-level=disrupt", "-rs")

    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(
        [
            "*dry run: restarts its rollout under traffic: Deployment shop/web",
            "*dry run: sends it traffic: Deployment shop/web",
            "*dry run: stops one manager and starts it again: swarm:one",
        ]
    )
