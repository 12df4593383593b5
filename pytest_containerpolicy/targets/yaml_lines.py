"""Where a field stands in a YAML document."""

import re

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_INDEX = re.compile(r"\[(\d+)\]")


def list_items(root: Node) -> list[Node]:
    """The items of a Kubernetes list, each a document of its own."""
    items = _child(root, "items")
    return items[1].value if items and isinstance(items[1], SequenceNode) else []


def line_of(node: Node, path: str) -> int:
    """The line of a field such as `spec.containers[0].image`, or of its nearest ancestor."""
    line: int = node.start_mark.line + 1
    while path:
        found = _step(node, path)
        if found is None:
            break
        line, node, path = found
    return line


def _step(node: Node, path: str) -> tuple[int, Node, str] | None:
    if isinstance(node, MappingNode):
        key = _longest_key(node, path)
        found = _child(node, key) if key else None
        if found is None:
            return None
        return found[0].start_mark.line + 1, found[1], path[len(key) :].lstrip(".")
    match = _INDEX.match(path)
    if isinstance(node, SequenceNode) and match and int(match[1]) < len(node.value):
        item = node.value[int(match[1])]
        return item.start_mark.line + 1, item, path[match.end() :].lstrip(".")
    return None


def _longest_key(node: MappingNode, path: str) -> str:
    # Keys may hold dots themselves: `metadata.labels.app.kubernetes.io/name`.
    keys = [key.value for key, _ in node.value if isinstance(key, ScalarNode)]
    fitting = [key for key in keys if path == key or path.startswith((f"{key}.", f"{key}["))]
    return max(fitting, key=len, default="")


def _child(node: Node, name: str) -> tuple[Node, Node] | None:
    if not isinstance(node, MappingNode):
        return None
    return next((pair for pair in node.value if pair[0].value == name), None)
