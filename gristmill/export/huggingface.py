"""A checkpoint as a Hugging Face folder of its own: what others need, nothing of how it was trained here."""

import json
import re
import shutil
from math import prod
from pathlib import Path

from ruamel.yaml import YAML, YAMLError
from transformers import AutoConfig

from gristmill.export.weights import INDEX, Weights
from gristmill.model.config import is_masked_model
from gristmill.model.licenses import UNKNOWN
from gristmill.model.origin import DATA_LICENSES, ORIGIN, data_licenses, read_origin

CARD = "README.md"
COPIED = (
    "config.json",
    "generation_config.json",
    INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "LICENSE",
    ORIGIN,
    DATA_LICENSES,
)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def write_folder(folder: Path, path: Path, *, name: str, source: str) -> None:
    """Copy the model in `folder` to a new folder `path`, under another name until it is whole, with a model card.

    name: of the model. source: where it comes from, for the card; a card that is there already is kept. Raises
    ValueError when `path` exists, or the weights are pickles or not finite.
    """
    if path.exists():
        raise ValueError(f"{path} is there already; remove it, or export to another folder")
    weights = Weights(folder)
    weights.check()
    draft = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        for file in (*weights.files, *COPIED):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, draft / file)
        if (folder / CARD).is_file():
            shutil.copyfile(folder / CARD, draft / CARD)
        else:
            (draft / CARD).write_text(_card(folder, weights, name, source), encoding="utf-8")
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def license_of(folder: Path) -> str | None:
    """That of the open model it was made from, else what its card's front matter names; None when nothing does."""
    if origin := read_origin(folder):
        return None if origin.license == UNKNOWN else origin.license
    if not (folder / CARD).is_file():
        return None
    matter = _FRONT_MATTER.match((folder / CARD).read_text(encoding="utf-8", errors="replace"))
    try:
        stated = YAML(typ="safe").load(matter[1]) if matter else None
    except YAMLError:
        return None
    license = stated.get("license") if isinstance(stated, dict) else None
    return license if isinstance(license, str) else None


def _card(folder: Path, weights: Weights, name: str, source: str) -> str:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    numbers = sum(prod(shape) for shape in weights.shapes.values())
    task = "fill-mask" if is_masked_model(folder) else "text-generation"
    matter = {"library_name": "transformers", "pipeline_tag": task}
    of_licence = "and `license:` above. No licence is stated here, so nobody has one yet."
    made_from = ""
    if origin := read_origin(folder):
        made_from = f"\nMade from {origin.name}, whose licence binds this model too: {origin.license} (`{ORIGIN}`).\n"
        if "hub" in origin.content:
            matter["base_model"] = origin.content["hub"]
    if licenses := data_licenses(folder):
        said = "; ".join(f"{stage}: {license}" for stage, license in licenses.items())
        made_from += f"\nDeclared licences of the rows it was tuned with: {said} (`{DATA_LICENSES}`).\n"
    if license := license_of(folder):
        matter |= _stated(license)
        of_licence = "and whether they allow the licence above, which is that of the model it was made from."
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in matter.items())
    return f"""---
{lines}
---
# {name}

A {config.model_type} of {numbers:,} parameters, vocabulary {config.vocab_size:,}, context \
{config.max_position_embeddings:,} tokens. Exported by gristmill from `{source}`.
{made_from}
To be written before this is given to others: what it is for and what not, the text it was trained on and the licences
of that text, how it was measured, {of_licence}
"""


def _stated(license: str) -> dict[str, str]:
    """As the hub writes it: one id in lower case, and what is more than one goes by another name."""
    if " " in license:
        return {"license": "other", "license_name": license}
    return {"license": license.lower()}
