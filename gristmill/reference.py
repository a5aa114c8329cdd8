"""The configuration's reference, made from the schema: `pipeline_configs/base.yaml` and `schema.json`.

base.yaml names every setting with its default and its meaning, each commented out: the defaults live in the classes
alone, and a configuration that extends it picks values. Run `make reference` after changing a configuration class.
"""

import json
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gristmill.config import PipelineConfig
from gristmill.yaml import models_in

HEADER = """\
# Every setting of gristmill with its default. Made from the schema by `make reference`; do not edit.
# Copy a line into a configuration of your own and remove the `#`:  `extends: base.yaml` is optional.
# Of settings that are lists or have variants, each possible entry is shown once.
# yaml-language-server: $schema=schema.json
"""


def base_yaml() -> str:
    lines = [HEADER]
    for name, field in PipelineConfig.model_fields.items():
        lines.append("\n".join(_section(field.alias or name, field)))
    return "\n\n".join(lines) + "\n"


def json_schema() -> str:
    return json.dumps(PipelineConfig.model_json_schema(), indent=1) + "\n"


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    seen: set[str] = set()
    for model in models_in(field.annotation):
        yield from _wrapped(_first_line(model), 0)
        yield f"# {name}:"
        yield from _fields(model, 1, seen)


def _fields(model: type[BaseModel], depth: int, seen: set[str]) -> Iterator[str]:
    """seen: what the section's earlier variants have shown at its top; it is not repeated."""
    repeated = False
    for name, field in model.model_fields.items():
        models = models_in(field.annotation)
        fact = f"{name} {field.description} {_default(field)} {models}"
        if depth == 1 and fact in seen:
            repeated = True
            continue
        if depth == 1:
            seen.add(fact)
        shown = field.alias or name
        yield from _wrapped(field.description or "", depth)
        if models and typing.get_origin(field.annotation) is not dict:
            yield _line(f"{shown}:", depth)
            entries = f"entries {models}"
            if len(models) > 1 and entries in seen:
                yield _line("# (the same variants as above)", depth + 1)
                continue
            seen.add(entries)
            for variant in models:
                if len(models) > 1:
                    yield from _wrapped(f"— variant: {_first_line(variant)}", depth + 1)
                yield from _fields(variant, depth + 1, seen)
        else:
            yield _line(f"{shown}: {_default(field)}", depth)
    if repeated:
        yield _line("# (and settings shown above for another variant)", depth)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    if field.default_factory is not None and "cpu_count" in field.default_factory.__code__.co_names:
        return "(the machine's cores)"
    value = field.get_default(call_default_factory=True)
    return json.dumps(value, ensure_ascii=False, default=str)


def _wrapped(text: str, depth: int) -> Iterator[str]:
    indent = "# " + "  " * depth + "# "
    yield from textwrap.wrap(" ".join(text.split()), 116, initial_indent=indent, subsequent_indent=indent)


def _line(text: str, depth: int) -> str:
    return "# " + "  " * depth + text


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def write(folder: Path) -> None:
    (folder / "base.yaml").write_text(base_yaml())
    (folder / "schema.json").write_text(json_schema())


if __name__ == "__main__":
    write(Path(__file__).parents[1] / "pipeline_configs")
