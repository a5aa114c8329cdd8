"""Docstrings of installed packages, read with `ast` and never by importing: importing runs code, and is slow.

Left out: tests, vendored copies, generated code, private functions and classes, dunder methods, nested functions, and
docstrings that only exist at run time (numpy's and torch's compiled functions). Modules with a leading underscore are
read, since scipy, numpy and others keep their public functions there, and it is left out of the functions' names.
"""

import ast
import csv
import gc
import hashlib
import inspect
import re
import sys
import sysconfig
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from gristmill.crawl.python_docs_config import STDLIB, PythonDocsSource
from gristmill.progress import progress

Kind = Literal["function", "class", "method"]

_SKIPPED_FOLDERS = {"test", "tests", "testing", "_testing", "_vendor", "vendor", "vendored", "externals", "_external"}
_SKIPPED_MODULES = re.compile(r"conftest|setup|__main__|test_.*|.*_tests?|.*_pb2(_grpc)?|_?version")
# absent from, or patched in, what distributions call Python
_SKIPPED_STDLIB = {"distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site", "tkinter", "turtle"}
_SKIPPED_STDLIB |= {"turtledemo", "venv", "antigravity", "this"}
# `text`, ``text``, :role:`text`, :role:`~shown.text`, :role:`text <target>`, `text <target>`_
INLINE = re.compile(r"(?::[A-Za-z][\w:+.-]*:)?(`{1,2})~?([^`]+?)(?: <[^`<>]+>)?\1_{0,2}")
# up to a full stop before a capital; not one that ends an abbreviation
_SENTENCE = re.compile(r".*?(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bcf)(?<!\betc)[.!?](?= +[\"'(`]?[A-Z0-9])|.*")
_TRIPLE_QUOTED = re.compile(rb"\"\"\".*?\"\"\"|'''.*?'''", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Entry:
    """A documented function, class or method.

    qualname: public name, such as `numpy.linalg.norm`. signature: as written, in one line, without `def`.
    docstring: cleaned of indentation. summary: its first sentence, without markup; "" when it opens with none.
    """

    qualname: str
    kind: Kind
    signature: str
    docstring: str
    summary: str


@dataclass(frozen=True)
class ModuleDoc:
    """The docstrings of one module, in the order of the source."""

    url: str
    package: str
    version: str
    module: str
    docstring: str
    entries: tuple[Entry, ...]

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of all docstrings."""
        return sum(len(text.encode()) for text in (self.docstring, *(entry.docstring for entry in self.entries)))


def iter_modules(source: PythonDocsSource, skipped: Counter[str] | None = None) -> Iterator[ModuleDoc]:
    """The modules a source stands for, in a seeded order: the same for the same package versions and settings.

    Packages take turns, each giving its next module by the hash of seed and name, until a limit is reached or all are
    spent: a large package gets no more pages than a small one, as long as that one has any.
    skipped: counts, by reason, the files that were looked at and not taken. Raises ValueError as `source.versions`.
    """
    skipped = Counter() if skipped is None else skipped
    versions = source.versions()
    queues = {package: deque(_in_seeded_order(package, source)) for package in versions}
    taken, taken_bytes = 0, 0
    with progress(f"docstrings of {len(queues)} packages", total=source.max_modules, unit="modules") as bar:
        while queues:
            for package in list(queues):
                module = _next_module(queues[package], package, versions[package], source, skipped)
                if module is None:
                    del queues[package]
                    continue
                yield module
                bar.advance()
                taken, taken_bytes = taken + 1, taken_bytes + module.text_bytes
                if taken == source.max_modules or taken_bytes >= (source.max_mb or float("inf")) * 1e6:
                    return


def plain(docstring: str) -> str:
    """A docstring, or part of one, without inline markup (roles and backquotes)."""
    return INLINE.sub(r"\2", docstring)


def _in_seeded_order(package: str, source: PythonDocsSource) -> list[tuple[str, Path]]:
    """(module, file) pairs."""

    def position(found: tuple[str, Path]) -> bytes:
        return hashlib.sha256(f"{source.seed}:{package}:{found[0]}".encode()).digest()

    return sorted(_module_files(package, source), key=position)


def _module_files(package: str, source: PythonDocsSource) -> Iterator[tuple[str, Path]]:
    root, paths = _stdlib_files() if package == STDLIB else _installed_files(package, source)
    for path in paths:
        parts = tuple(path.removesuffix(".py").removesuffix("/__init__").split("/"))
        skipped = _SKIPPED_FOLDERS.intersection(parts) or _SKIPPED_MODULES.fullmatch(parts[-1])
        if not skipped and all(part.isidentifier() for part in parts):
            yield ".".join(parts), root / path


def _stdlib_files() -> tuple[Path, list[str]]:
    root = Path(sysconfig.get_path("stdlib"))
    public = {name for name in sys.stdlib_module_names if not name.startswith("_")} - _SKIPPED_STDLIB
    found = [path for name in public for path in (root / f"{name}.py", *(root / name).rglob("*.py")) if path.is_file()]
    return root, [path.relative_to(root).as_posix() for path in found]


def _installed_files(package: str, source: PythonDocsSource) -> tuple[Path, list[str]]:
    distribution = metadata.distribution(package)
    record = distribution.read_text("RECORD")  # `distribution.files` builds a path object a line: 20 times as slow
    if record is None:
        raise ValueError(
            f"packages of source {source.name!r}: {package!r} was installed without a list of its files (RECORD); "
            "install it with pip, or remove it"
        )
    paths = [row[0] for row in csv.reader(record.splitlines()) if row and row[0].endswith(".py")]
    return Path(str(distribution.locate_file(""))), paths


def _next_module(
    queue: deque[tuple[str, Path]], package: str, version: str, source: PythonDocsSource, skipped: Counter[str]
) -> ModuleDoc | None:
    while queue:
        name, path = queue.popleft()
        try:
            code = path.read_bytes()
            # parsing takes all the time, so modules that cannot have enough docstrings are told by their quotes
            if sum(map(len, _TRIPLE_QUOTED.findall(code))) < source.min_module_bytes:
                skipped["too_little_text"] += 1
                continue
            with _collector_paused():
                module = _read(code, name, package, version)
        except OSError:
            skipped["unreadable"] += 1
            continue
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            skipped["unparsable"] += 1
            continue
        if module.text_bytes >= source.min_module_bytes:
            return module
        skipped["too_little_text"] += 1
    return None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection: a syntax tree has no cycles, and walking it again and again takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(code: bytes, name: str, package: str, version: str) -> ModuleDoc:
    with warnings.catch_warnings(action="ignore"):  # invalid escapes in other people's strings
        tree = ast.parse(code)
    return ModuleDoc(
        url=f"https://docs.invalid/{package}/{name}.html",
        package=package,
        version=version,
        module=name,
        docstring=_docstring(tree),
        entries=tuple(_entries(tree, name)),
    )


def _entries(tree: ast.Module, module: str) -> Iterator[Entry]:
    """Public documented functions, classes and methods, those under `if` and `try` at the top level included."""
    prefix = ".".join(part for part in module.split(".") if not part.startswith("_"))
    pending = deque(tree.body)
    while pending:
        node = pending.popleft()
        if isinstance(node, ast.If | ast.Try):
            pending.extendleft(reversed([*node.body, *node.orelse]))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _entry(node, f"{prefix}.{node.name}", "function")
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _entry(node, f"{prefix}.{node.name}", "class")
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from _entry(inner, f"{prefix}.{node.name}.{inner.name}", "method")


def _entry(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, qualname: str, kind: Kind) -> Iterator[Entry]:
    docstring = "" if node.name.startswith("_") else _docstring(node)
    if docstring:
        yield Entry(qualname, kind, _signature(node), docstring, _first_sentence(docstring))


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in (*node.bases, *node.keywords))
        return f"{node.name}({bases})" if bases else node.name
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returned}"


def _docstring(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    return _CONTROL.sub("", inspect.cleandoc(ast.get_docstring(node, clean=False) or "")).strip()


def _first_sentence(docstring: str) -> str:
    opening = " ".join(plain(docstring.split("\n\n", 1)[0]).split())
    return _SENTENCE.match(opening)[0] if opening else ""  # pyright: ignore[reportOptionalSubscript]
