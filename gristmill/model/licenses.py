"""Which licence an open model states, by its SPDX name, and whether a configuration allows it.

A hub writes ids in lower case (`apache-2.0`) and names of its own (`llama3.2`, `gemma`): what SPDX knows gets SPDX's
spelling, another name stays as it is stated. This reads what is written and is no legal advice.
"""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from gristmill.crawl.licenses import all_allowed, is_license_file, license_of_text

UNKNOWN = "unknown"
_MODEL_CARD = "README.md"
_NO_NAME = ("other", "unknown", "unlicensed", "none", "")


def normalized(stated: object) -> str:
    """SPDX's spelling of a licence, or the stated name where SPDX has none; `unknown` where nothing is stated."""
    if isinstance(stated, list | tuple):
        names = sorted({normalized(one) for one in stated})
        return " AND ".join(names) or UNKNOWN
    name = " ".join(str(stated or "").split())
    if name.lower() in _NO_NAME:
        return UNKNOWN
    try:
        return str(canonicalize_license_expression(name))
    except InvalidLicenseExpression:
        return name.lower()


def is_allowed(license: str, allow: list[str]) -> bool:
    """Whether all licences of an expression are named; `unknown` only where `unknown` is."""
    return all_allowed(license, {normalized(one) for one in allow})


def license_of_folder(folder: Path) -> str:
    """Of a Hugging Face folder: its model card's, else config.json's, else that of the text of a licence file."""
    for stated in (license_of_card(folder / _MODEL_CARD), _of_config(folder / "config.json")):
        if stated != UNKNOWN:
            return stated
    texts = [path for path in sorted(folder.iterdir()) if path.is_file() and is_license_file(path.name)]
    found = {license for path in texts if (license := license_of_text(path.read_text("utf-8", "replace")))}
    return normalized(sorted(found))


def license_of_package(name: str) -> str:
    """Of an installed package: its metadata's, else that of its licence files."""
    package = metadata.distribution(name)
    facts: Any = package.metadata
    stated = normalized(facts.get("License-Expression") or facts.get("License"))
    if stated != UNKNOWN and "\n" not in str(facts.get("License") or ""):
        return stated
    texts = [Path(str(file.locate())) for file in package.files or [] if is_license_file(file.name)]
    found = {license for path in texts if (license := license_of_text(path.read_text("utf-8", "replace")))}
    return normalized(sorted(found))


def license_of_card(card: Path) -> str:
    """`license` of the card's front matter; of `license: other` the name beside it."""
    text = card.read_text("utf-8", "replace") if card.is_file() else ""
    if not text.startswith("---"):
        return UNKNOWN
    try:
        facts = yaml.safe_load(text.split("---", 2)[1])
    except yaml.YAMLError:
        return UNKNOWN
    if not isinstance(facts, dict):
        return UNKNOWN
    stated = normalized(facts.get("license"))
    return normalized(facts.get("license_name")) if stated == UNKNOWN else stated


def _of_config(path: Path) -> str:
    return normalized(json.loads(path.read_bytes()).get("license")) if path.is_file() else UNKNOWN
