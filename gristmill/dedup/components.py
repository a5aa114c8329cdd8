"""Connected components on arrays, whatever the order of the edges."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def merge(labels: Numbers, left: Numbers, right: Numbers) -> None:
    """Join the components of both ends of each edge, in place.

    labels: int64 [nodes], for each node the smallest node of its component; so they are again afterwards.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes, ends = np.unique(np.concatenate([labels[left], labels[right]]), return_inverse=True)
    if len(nodes) == 0:
        return
    edges = (ends[: len(left)], ends[len(left) :])
    graph = coo_array((np.ones(len(left), np.bool_), edges), shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)  # nodes ascend, so the first of a component is its smallest
    smallest = np.arange(len(labels))
    smallest[nodes] = nodes[first][component]
    labels[:] = smallest[labels]
