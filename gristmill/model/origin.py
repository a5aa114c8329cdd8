"""Licences of a model folder: `origin.json` says which open model it was made from, and under which licence that is;
`data_licenses.json` what was declared of rows that it was fine-tuned or aligned with.

Both go along with every model made from that one, so that a licence's terms are not lost on the way.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from gristmill.schema import Schema

ORIGIN = "origin.json"
DATA_LICENSES = "data_licenses.json"


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


def license_of_model(folder: Path) -> str:
    """That of the open model that a folder was made from, else what the folder states; `unknown` where neither does."""
    from gristmill.model.licenses import license_of_folder

    origin = read_origin(folder)
    return origin.license if origin else license_of_folder(folder)


def pass_on(parent: Path, folder: Path) -> None:
    """A model made from the one in `parent` has the same origin, and has learned from the same rows."""
    for name in (ORIGIN, DATA_LICENSES):
        if (parent / name).is_file():
            shutil.copyfile(parent / name, folder / name)


def note_data_license(folder: Path, stage: str, license: str | None) -> None:
    """Add what a stage's rows are licensed as to what is known of the stages before it; None: nothing was declared.

    A stage that an ancestor went through, too, has learned from the rows of both: all their licences hold.
    """
    if license is None:
        return
    licenses = data_licenses(folder)
    known = licenses.get(stage)
    licenses[stage] = license if known is None else _both(known, license)
    (folder / DATA_LICENSES).write_text(json.dumps(licenses, indent=2) + "\n", encoding="utf-8")


def _both(known: str, license: str) -> str:
    """The SPDX expression of two, each part once."""
    return " AND ".join(dict.fromkeys([*_parts(known), *_parts(license)]))


def _parts(expression: str) -> list[str]:
    """What an expression joins by AND outside of brackets; a choice stays whole, in brackets."""
    parts, depth, is_choice = [""], 0, False
    for word in re.split(r"( AND | OR )", expression):
        if depth == 0 and word == " AND ":
            parts.append("")
            continue
        is_choice |= depth == 0 and word == " OR "
        depth += word.count("(") - word.count(")")
        parts[-1] += word
    return [f"({expression})"] if is_choice else parts


def data_licenses(folder: Path) -> dict[str, str]:
    """Declared licences of the rows that a model learned from, by stage."""
    path = folder / DATA_LICENSES
    return json.loads(path.read_bytes()) if path.is_file() else {}
