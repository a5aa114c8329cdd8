"""Which code made an artifact: the git commit, and a digest of every gristmill module a stage can reach by imports."""

import ast
import hashlib
import platform
import re
import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import Lock

PACKAGE = Path(__file__).parent
_ONE_AT_A_TIME = Lock()


def git_commit() -> str | None:
    """The commit of the checkout gristmill runs from, with `-dirty` when tracked files differ. None outside git."""
    command = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def reachable_code(path: Path) -> dict[str, str]:
    """Module → digest of its source, for all gristmill modules that the file at `path` imports, directly or not.

    Imports inside functions count too: that is where stages import what is heavy.
    """
    found: dict[str, str] = {}
    pending = list(_imports(path))
    while pending:
        module = pending.pop()
        source = _source_of(module)
        if module in found or source is None:
            continue
        found[module] = _digest(source)
        pending.extend(_imports(source))
    return dict(sorted(found.items()))


def changed_modules(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Modules whose source differs between two digests, was added, or is gone."""
    return sorted(module for module in then.keys() | now.keys() if then.get(module) != now.get(module))


@cache
def installation() -> dict[str, str]:
    """What computes here: a digest of gristmill's sources, the version of Python and of each package it requires.

    A required package that is absent is left out; builds of one version (`+cpu`, `+cu130`) are the same.
    """
    sources = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        sources.update(f"{path.relative_to(PACKAGE)}\0{path.read_text(encoding='utf-8')}\0".encode())
    found = {"gristmill": sources.hexdigest()[:12], "Python": platform.python_version()}
    for requirement in metadata.requires("gristmill") or ():
        name = re.match(r"[\w.-]+", requirement)
        if name and "extra ==" not in requirement:
            with suppress(metadata.PackageNotFoundError):
                found[name[0]] = metadata.version(name[0]).partition("+")[0]
    return found


@cache
def _imports(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    tree = _parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    # a program a stage launches by name (`python -m gristmill.train.pretrain`) is reached by a string
    names.extend(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("gristmill.")
    )
    return tuple(name for name in names if name.startswith("gristmill."))


def _source_of(module: str) -> Path | None:
    stem = PACKAGE.parent.joinpath(*module.split("."))
    for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _digest(source: Path) -> str:
    # the syntax tree, not the bytes: comments and layout change no result
    return hashlib.sha256(ast.dump(_parsed(source)).encode()).hexdigest()[:12]


def _parsed(source: Path) -> ast.Module:
    # CPython 3.11 counts the depth of all threads' trees together and raises SystemError (python/cpython#106905); the
    # rungs of a ladder are looked up side by side
    with _ONE_AT_A_TIME:
        return ast.parse(source.read_bytes())
