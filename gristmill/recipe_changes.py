"""What differs between two recipes of one stage: configuration key by key, version, inputs."""

from dataclasses import dataclass
from typing import Any

from gristmill.store import Recipe


@dataclass(frozen=True)
class Change:
    """One difference. `key` is dotted, `version`, or `input NAME`; None stands for absent."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.shown_before} → {self.shown_after}"

    @property
    def shown_before(self) -> str:
        return _short(self.before)

    @property
    def shown_after(self) -> str:
        return _short(self.after)

    @property
    def is_input(self) -> bool:
        return self.key.startswith("input ")


def changes(after: Recipe, before: Recipe) -> list[Change]:
    """Configuration first, then version, then inputs."""
    old, new = _flat(before), _flat(after)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [Change(key, old.get(key), new.get(key)) for key in keys]


def _flat(recipe: Recipe) -> dict[str, Any]:
    return (
        _leaves(recipe.config, "") | {"version": recipe.version} | {f"input {k}": v for k, v in recipe.inputs.items()}
    )


def _leaves(value: Any, prefix: str) -> dict[str, Any]:
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = ((str(position), child) for position, child in enumerate(value))
    else:
        return {prefix: value}
    return {
        name: leaf for key, child in children for name, leaf in _leaves(child, f"{prefix}.{key}".lstrip(".")).items()
    }


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
