"""A filter's thresholds beside what was measured on one page, for those who ask why it was kept or dropped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gristmill.filters.filter import Rule


@dataclass(frozen=True)
class Threshold:
    """One rule and one page. `side` is `min` or `max`: what is kept lies on the other side of it, or on it."""

    rule: str
    side: str
    value: float
    threshold: float
    kept: bool


def thresholds_for(row: Mapping[str, Any], config: Mapping[str, Any]) -> list[Threshold]:
    """The thresholds of a recorded filter configuration that looked at a page with these columns, nearest first.

    A language's own thresholds (`by_language`) count before the others. A signal that is null was not looked at.
    """
    found = []
    for name, threshold in thresholds_of(config, row.get("language")).items():
        side, _, signal = name.partition("_")
        value = row.get(signal)
        if value is not None:
            found.append(Threshold(name, side, value, threshold, Rule(name, threshold).keeps(value)))
    return sorted(found, key=lambda each: abs(each.value - each.threshold) / (abs(each.threshold) or 1.0))


def thresholds_of(config: Mapping[str, Any], language: str | None) -> dict[str, float]:
    """Rule → threshold in a recorded filter configuration, as they hold for documents of a language."""
    own = (config.get("by_language") or {}).get(language or "und") or {}
    merged = {**config, **own}
    return {
        name: value
        for name, value in merged.items()
        if name.startswith(("min_", "max_")) and isinstance(value, int | float) and not isinstance(value, bool)
    }
