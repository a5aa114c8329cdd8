"""`origin.json` of a model folder: which open model it was made from, and under which licence that is.

It goes along with every model made from that one, so that a licence's terms are not lost on the way.
"""

import shutil
from pathlib import Path
from typing import Any

from gristmill.schema import Schema

ORIGIN = "origin.json"


class Origin(Schema):
    """What is known of an open model."""

    name: str
    license: str
    """SPDX, or the name that its card states."""
    content: dict[str, Any]
    """What stands for its files: a digest, or the hub's id and commit."""


def write_origin(origin: Origin, folder: Path) -> None:
    (folder / ORIGIN).write_text(origin.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_origin(folder: Path) -> Origin | None:
    """None for a model whose ancestors were all trained from scratch."""
    path = folder / ORIGIN
    return Origin.model_validate_json(path.read_bytes()) if path.is_file() else None


def pass_on(parent: Path, folder: Path) -> None:
    """A model made from the one in `parent` has the same origin."""
    if (parent / ORIGIN).is_file():
        shutil.copyfile(parent / ORIGIN, folder / ORIGIN)
