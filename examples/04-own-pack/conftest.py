"""A check of this project's own."""

from collections.abc import Iterator

from pytest_containerpolicy import Violation, check
from pytest_containerpolicy.model.container import Container


@check()
def image_pinned(container: Container, tags: bool = False) -> Iterator[Violation]:
    """An image is pinned by digest, or (with `tags`) at least by a tag other than latest."""
    name, _, digest = container.image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if digest or (tags and tag not in ("", "latest")):
        return
    yield Violation(
        found=f"image {container.image}",
        wanted="a tag other than latest" if tags else "a digest",
        path=f"{container.path}.image",
    )
