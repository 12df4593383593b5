"""From an inventory to its model: one builder per platform."""

from importlib import import_module

from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.targets.inventory import Inventory

_BUILDERS = {
    "kubernetes": "pytest_containerpolicy.model.from_kubernetes",
    "docker": "pytest_containerpolicy.model.from_engine",
    "swarm": "pytest_containerpolicy.model.from_swarm",
    "compose": "pytest_containerpolicy.model.from_compose",
}


def build_model(inventory: Inventory) -> Model:
    """The model of an inventory, of whichever platform it is."""
    module = import_module(_BUILDERS[inventory.header.platform])
    model: Model = module.build(inventory)
    return model
