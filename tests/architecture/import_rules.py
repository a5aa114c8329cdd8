"""Who may import whom, read from the syntax tree: `faults(root)` lists every import that breaks the architecture.

Imports inside functions count, since that is where heavy ones hide. Only the rule about configurations asks what an
import of a `config.py` really loads, through every module of the checkout it reaches.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ORCHESTRATION = ("prefect", "mlflow")
FLOWS_MAY_IMPORT = ("gristmill.schema", "gristmill.config", "gristmill.artifacts", "gristmill.pipeline")
KNOW_MLFLOW = ("tasks.tracking", "tasks.registry")
SHARED_TASK_MODULES = (*KNOW_MLFLOW, "tasks.stage", "tasks.launch", "tasks.gpu_slot", "tasks.progress_artifact")
DRAWERS = ("utils", "util", "common", "helpers", "helper", "misc", "core")
HEAVY = ("torch", "transformers", "trl", "peft", "mlflow", "prefect", "pandas", "pyarrow", "trafilatura", "fasttext")


@dataclass(frozen=True)
class Import:
    """One imported name, dotted: `from gristmill.store import Record` gives `gristmill.store.Record` too."""

    name: str
    line: int
    at_import_time: bool


def faults(root: Path) -> list[str]:
    """One line per broken rule in the packages gristmill, tasks and flows below `root`."""
    found: list[str] = []
    for package in ("gristmill", "tasks", "flows"):
        for path in sorted((root / package).rglob("*.py")):
            module = module_name(path, root)
            if path.stem in DRAWERS or path.parent.name in DRAWERS:
                found.append(f"{path.relative_to(root)}: {path.stem} is a drawer; name it after what it holds")
            for imported in imports(path):
                reason = forbidden(module, imported.name)
                if reason:
                    found.append(f"{path.relative_to(root)}:{imported.line}: imports {imported.name}; {reason}")
    for path in sorted((root / "gristmill").rglob("config.py")):
        for heavy in sorted(loaded(path, root) & set(HEAVY)):
            found.append(f"{path.relative_to(root)}: importing it loads {heavy}; a config imports nothing heavy")
    return found


def forbidden(module: str, name: str) -> str | None:
    """Why `module` may not import `name`; None when it may."""
    package, top = module.partition(".")[0], name.partition(".")[0]
    front_desk = module == "flows.cli" or module.startswith("flows.cli.")
    if not top:
        return "imports are written in full here"
    if package == "gristmill" and top in (*ORCHESTRATION, "tasks", "flows"):
        return "the domain runs without Prefect, MLflow, tasks and flows"
    if top == "mlflow" and module not in KNOW_MLFLOW:
        return "only tasks/tracking.py and tasks/registry.py know MLflow"
    if package == "tasks" and top == "flows":
        return "tasks do not know flows"
    if (
        package == "tasks"
        and top == "tasks"
        and name != "tasks"
        and not _is_within(name, (*SHARED_TASK_MODULES, module))
    ):
        return "tasks do not know each other, only stage, launch and tracking"
    if package == "flows" and not front_desk and top == "gristmill" and not _may_flow_import(name):
        return "flows take from gristmill only configurations and artifact types; the computation belongs to a task"
    if package == "flows" and not front_desk and _is_within(name, ("flows.cli",)):
        return "flows do not know the command line"
    return None


def loaded(path: Path, root: Path) -> set[str]:
    """Top-level packages that importing this file loads, through all modules of the checkout that it imports."""
    seen: set[Path] = set()
    packages: set[str] = set()
    pending = [path]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for imported in imports(current):
            if imported.at_import_time:
                packages.add(imported.name.partition(".")[0])
                pending.extend(_files_executed(imported.name, root))
    return packages


def imports(path: Path) -> Iterator[Import]:
    """All imports of a file. What stands in a function or under TYPE_CHECKING does not run at import time."""
    yield from _walk(ast.parse(path.read_bytes()), at_import_time=True)


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _walk(node: ast.AST, at_import_time: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_import_time) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = "." * child.level + (child.module or "")  # a leading dot is refused, so it need not be resolved
            yield from (Import(f"{origin}.{alias.name}", child.lineno, at_import_time) for alias in child.names)
        else:
            yield from _walk(child, at_import_time and not _runs_later(child))


def _runs_later(node: ast.AST) -> bool:
    in_a_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    return in_a_function or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))


def _files_executed(name: str, root: Path) -> list[Path]:
    """Files of the checkout that run when a dotted name is imported: each package's __init__ and the module."""
    parts = name.split(".")
    stems = [root.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    candidates = [candidate for stem in stems for candidate in (stem / "__init__.py", stem.with_suffix(".py"))]
    return [candidate for candidate in candidates if candidate.is_file()]


def _may_flow_import(name: str) -> bool:
    in_a_config = "config" in name.split(".")[:-1]  # gristmill.dedup.config.DedupConfig
    return in_a_config or _is_within(name, FLOWS_MAY_IMPORT)


def _is_within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)
