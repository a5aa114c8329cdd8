"""Whether token ids mean the same text: to a model that training goes on from, and in the rows that it ends with.

Asked while planning, before anything is built, so it compares what records and configurations say: the digest of the
checkpoint's tokenizer.json, that of the tokenizer where it is built, and that of the folder it is made from. What no
record can say (a tokenizer that would be trained anew) counts as another vocabulary. The training program compares the
vocabularies themselves once more (`gristmill.model.vocabulary`).
"""

from collections.abc import Mapping
from typing import Any

from gristmill.artifacts import Artifact
from gristmill.fingerprint import file_sha256
from gristmill.model.config import ModelConfig, OpenStart
from gristmill.store import ArtifactStore, Recipe, Record

_FILE = "tokenizer.json"


def another_vocabulary(store: ArtifactStore, planned: Mapping[str, Recipe], training: Mapping[str, Any]) -> str | None:
    """Why training cannot go on from a model, or anneal on rows, with this tokenizer; None where it can.

    planned: address → recipe of what this run makes or reuses. training: `tokenizer`, `start`, `anneal` and `model` of
    `pretrain`. A tokenizer fits a model whose own it is or extends; rows were made with the same.
    """
    if fault := _other_rows(store, planned, training):
        return fault
    tokenizer: Artifact = training["tokenizer"]
    start: Artifact | None = training["start"]
    model: ModelConfig = training["model"]
    recipe = planned.get(tokenizer.address)
    if start is None or (recipe and recipe.inputs.get("base") == start.address):
        return None
    if model.start.kind == "open":
        own = _open_digest(store, start.address, model.start)
        if own is None or own in _digests(store, tokenizer.address, recipe):
            return None
        return (
            f"model.start is an open model, whose {_FILE} is not the one that train_tokenizer names; set "
            "train_tokenizer: {kind: existing} to use that model's own, or {kind: extend, …} to add tokens to it"
        )
    record = store.load(start.address)
    made_with = _tokenizer_of(store, start.address)
    digest = _digest(record)
    if tokenizer.address == made_with or digest is None or digest in _digests(store, tokenizer.address, recipe):
        return None
    keep = f"{{kind: artifact, artifact: {made_with}}}" if made_with else "{kind: existing, path: …}"
    return (
        f"the vocabulary changed: {start.address} was trained with {made_with or 'another tokenizer'}, this run has "
        f"{tokenizer.address}, so training has to start anew. Set model.start: {{kind: scratch}} for that; or keep the "
        f"vocabulary with train_tokenizer: {keep}"
    )


def _other_rows(store: ArtifactStore, planned: Mapping[str, Recipe], training: Mapping[str, Any]) -> str | None:
    """Why the shards to anneal on do not go with this run's tokenizer."""
    anneal: Artifact | None = training["anneal"]
    if anneal is None:
        return None
    tokenizer: Artifact = training["tokenizer"]
    made_with = store.load(anneal.address).recipe.inputs["tokenizer"]
    assert made_with, f"{anneal.address} has no tokenizer"
    record = store.find(made_with)
    digest = _digest(record) if record else None
    same_file = digest is not None and digest in _digests(store, tokenizer.address, planned.get(tokenizer.address))
    if made_with == tokenizer.address or same_file:
        return None
    return (
        f"pretrain.anneal: {anneal.address} was made with {made_with}, this run has {tokenizer.address}; keep the "
        f"vocabulary with train_tokenizer: {{kind: artifact, artifact: {made_with}}}, or tokenize its text anew"
    )


def _digests(store: ArtifactStore, address: str, recipe: Recipe | None) -> set[str | None]:
    """Of the tokenizer.json of this tokenizer, and of the one it is a copy or an extension of; as far as known."""
    config: dict[str, Any] = recipe.config.get("train_tokenizer", {}) if recipe else {}
    record = store.find(address)
    known = {config.get("files", {}).get(_FILE), _digest(record) if record else None}
    return known - {None}


def _open_digest(store: ArtifactStore, address: str, start: OpenStart) -> str | None:
    """Of an open model's tokenizer.json: of the imported one, else of the folder's; None while nobody knows."""
    record = store.find(address)
    if record:
        return _digest(record)
    path = start.path / _FILE if start.path else None
    return file_sha256(path) if path and path.is_file() else None


def _digest(record: Record) -> str | None:
    return next((entry.sha256 for entry in record.files if entry.path == _FILE), None)


def _tokenizer_of(store: ArtifactStore, checkpoint: str) -> str | None:
    """Address of the tokenizer that a checkpoint's first training had, from records."""
    for _, shown, _ in store.lineage(checkpoint):
        address = shown.rpartition(" ")[2]
        if address.startswith("tokenizer/"):
            return address
    return None
