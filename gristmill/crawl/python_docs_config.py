"""The source `python_docs`: which installed packages give their documentation, and how much of it."""

import platform
from importlib import metadata
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from gristmill.schema import StageConfig

STDLIB = "stdlib"

# installed with gristmill, and documented in prose by many modules: wrong answers come from the same package
USUAL_PACKAGES = (
    STDLIB,
    "fonttools",
    "huggingface-hub",
    "matplotlib",
    "mlflow",
    "narwhals",
    "networkx",
    "numpy",
    "pandas",
    "prefect",
    "pydantic",
    "redis",
    "scikit-learn",
    "scipy",
    "sqlalchemy",
    "sympy",
    "torch",
    "transformers",
)


class PythonDocsSource(StageConfig):
    """Documentation of installed Python packages: each module's docstrings become one page of HTML."""

    kind: Literal["python_docs"] = "python_docs"
    name: str = "python_docs"
    """Name of the source, in tables and in every document; also a folder name."""
    weight: PositiveFloat | None = None
    """Share of this source in the tokens that training sees, relative to the other sources' weights (docs/mix.md). Null
    for all of them: the share that its pages make."""
    license: str = "each package's own: PSF-2.0, BSD-3-Clause, Apache-2.0 or MIT"
    """Licence of the content; travels with every document."""
    packages: list[str] | None = Field(default=None, min_length=1)
    """Packages as `pip list` names them, and `stdlib`; one that is not installed is an error.
    Default: those of a fixed list of well documented packages that are installed."""
    max_modules: PositiveInt | None = None
    """Pages at most, in equal parts from all packages as far as these have enough; none: all modules."""
    max_mb: PositiveFloat | None = None
    """Megabytes of docstrings at most (the page that passes this is the last); none: no limit."""
    min_module_bytes: NonNegativeInt = 600
    """A kept module has at least so many bytes of docstrings."""
    seed: int = 0
    """Chooses another part of the modules where there is a limit."""
    pages_per_warc: PositiveInt = 250
    """Pages in one WARC file, the unit of parallel work."""

    def identity(self) -> dict[str, Any]:
        """Versions in place of names; not the weight, which is the mix's matter. Raises ValueError as `versions`."""
        return self.model_dump(mode="json", exclude={"weight"}) | {"packages": self.versions()}

    def versions(self) -> dict[str, str]:
        """Package → installed version; Python's for `stdlib`. Raises ValueError for one that is not installed."""
        versions: dict[str, str] = {}
        for package in self.packages or USUAL_PACKAGES:
            try:
                versions[package] = platform.python_version() if package == STDLIB else metadata.version(package)
            except metadata.PackageNotFoundError as error:
                if self.packages:
                    raise ValueError(
                        f"packages of source {self.name!r}: {package!r} is not installed; install it, or remove it "
                        f"(names are those of `pip list`, such as scikit-learn for sklearn, and {STDLIB!r})"
                    ) from error
        return versions
