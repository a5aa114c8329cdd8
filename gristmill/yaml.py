"""YAML with positions: configuration files joined by `extends:`, overridden by `--set`, checked against a schema.

Every value remembers the file and line it came from, so that a mistake is reported where it was made, together with
what is accepted there and the nearest valid name.
"""

import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gristmill.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]


def load_yaml(path: Path, overrides: Sequence[str], schema: type[M]) -> M:
    """Read a file, its `extends:` chain and `a.b=value` overrides, and validate the result against the schema.

    Raises ConfigError naming file:line (or the --set), the key, what is accepted and the nearest valid name.
    """
    values, origins = _read(path, seen=())
    for override in overrides:
        _apply(override, values, origins)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines = [_explain(detail, schema, origins) for detail in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def _read(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], dict[Location, str]]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: `extends:` leads back to {path.name}; a configuration cannot extend itself")
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: this is not YAML: {getattr(error, 'problem', error)}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}:1: expected `key: value` lines at the top, found a {type(document).__name__}")
    origins: dict[Location, str] = {}
    _note_origins(document, path, (), origins)
    values = _plain(document)
    parent = values.pop("extends", None)
    if parent is None:
        return values, origins
    if not isinstance(parent, str):
        raise ConfigError(f"{origins[('extends',)]}: extends names one file, found {parent!r}")
    base, base_origins = _read(path.parent / parent, (*seen, path.resolve()))
    return _merge(base, values), base_origins | origins


def _note_origins(node: Any, path: Path, at: Location, origins: dict[Location, str]) -> None:
    positions = getattr(node, "lc", None)
    if positions is None:
        return
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in entries:
        if key in (positions.data or {}):  # not for keys that a merge (`<<`) brought
            origins[(*at, key)] = f"{path}:{positions.data[key][0] + 1}"
        _note_origins(value, path, (*at, key), origins)


def _plain(node: Any) -> Any:
    """Ruamel's round-trip containers and scalars as ordinary dicts, lists and numbers."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` wins; mappings are merged key by key, everything else (lists too) is replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both and not _is_another_variant(merged[key], value) else value
    return merged


def _is_another_variant(base: dict[str, Any], over: dict[str, Any]) -> bool:
    """`kind: existing` over settings of another kind replaces them: they would be unknown to it."""
    return any(tag in over and over[tag] != base.get(tag) for tag in ("kind", "algorithm"))


def _apply(override: str, values: dict[str, Any], origins: dict[Location, str]) -> None:
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set {override!r}: expected a.b=value, such as --set pretrain.tokens=2000000")
    try:
        value = _plain(YAML(typ="safe").load(text))
    except YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML: {getattr(error, 'problem', error)}") from None
    node = values
    for name in names[:-1]:
        inner = node.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: {name} is not a group of settings; set it as a whole")
        node = inner
    node[names[-1]] = value
    at = tuple(names)
    for known in [known for known in origins if known[: len(at)] == at]:
        del origins[known]
    origins[at] = f"--set {key}"


def _explain(detail: ErrorDetails, schema: type[BaseModel], origins: dict[Location, str]) -> str:
    location, fields = _descend(schema, detail["loc"])
    origin = next((origins[location[:n]] for n in range(len(location), 0, -1) if location[:n] in origins), "")
    where = f"{origin}: " if origin else ""
    dotted = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        name, group = str(location[-1]), ".".join(str(part) for part in location[:-1]) or "the configuration"
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{where}unknown key {dotted}; {hint}{group} accepts {', '.join(sorted(fields))}"
    if detail["type"] == "missing":
        return f"{where}{dotted} is missing and has no default"
    message = detail["msg"].removeprefix("Value error, ")
    found = "" if detail["type"] == "value_error" else f", found {str(detail['input'])[:80]!r}"
    return f"{where}{dotted}: {message[:1].lower()}{message[1:]}{found}" if dotted else f"{where}{message}"


def _descend(schema: type[BaseModel], loc: Location) -> tuple[Location, list[str]]:
    """Follow an error's location through the schema: the location without union tags, and the field names there."""
    location: list[str | int] = []
    current: Any = schema
    fields = _names(schema)
    for part in loc:
        models = models_in(current)
        tagged = next((model for model in models if _tag(model) == part), None)
        if tagged is not None and not isinstance(part, int) and len(models) > 1:
            current, fields = tagged, _names(tagged)
            continue
        location.append(part)
        fields = sorted({name for model in models for name in _names(model)}) or fields
        if isinstance(part, str):
            named = {field.alias or name: field for model in models for name, field in model.model_fields.items()}
            field = named.get(part)
            current = field.annotation if field else None
    return tuple(location), fields


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """All models an annotation can hold: through unions, lists and Annotated."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in typing.get_args(annotation) for model in models_in(argument)]


def _tag(model: type[BaseModel]) -> Any:
    """The value of a union member's discriminator: its only Literal field with one value."""
    for field in model.model_fields.values():
        values = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
        if len(values) == 1:
            return values[0]
    return None
