"""The tree behind an artifact, each artifact once: what it was made from, back to the sources."""

from dataclasses import dataclass, field

from gristmill.scope import inputs_of
from gristmill.store import ArtifactStore, BrokenArtifact, Record

SHOWN_NODES = 250
SHOWN_DEPTH = 30


@dataclass
class Node:
    """An artifact in the tree. again: it and what is behind it stand further up. gone: its record cannot be read."""

    address: str
    name: str
    """Of the input that it is; the stage's label for the root."""
    label: str = ""
    run: str = ""
    again: bool = False
    gone: bool = False
    cut: bool = False
    """More is behind it than is shown."""
    children: list["Node"] = field(default_factory=list)


def tree(store: ArtifactStore, address: str) -> Node:
    """Depth first; what is beyond SHOWN_NODES and SHOWN_DEPTH is cut."""
    root = Node(address, "")
    pending, seen = [(root, 0)], set()
    while pending:
        node, depth = pending.pop()
        if node.address in seen:
            node.again = True
            continue
        seen.add(node.address)
        record = read_record(store, node.address)
        if record is None:
            node.gone = True
            continue
        node.label, node.run = record.label, record.run
        artifacts = set(inputs_of(record))
        sources = [Node(str(source), name) for name, source in record.recipe.inputs.items() if source in artifacts]
        if depth >= SHOWN_DEPTH or len(seen) + len(pending) >= SHOWN_NODES:
            node.cut = bool(sources)
            continue
        node.children = sources
        pending += [(child, depth + 1) for child in reversed(sources)]
    return root


def read_record(store: ArtifactStore, address: str) -> Record | None:
    """None for one that is gone or broken."""
    try:
        return store.recorded(address)
    except (FileNotFoundError, BrokenArtifact, ValueError):
        return None
