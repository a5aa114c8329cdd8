"""How signals and text lengths are distributed, kept pages beside dropped ones, with the thresholds between them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gristmill.filters.thresholds import thresholds_of
from gristmill.store import Record
from gristmill.text.documents import DOCUMENT_SCHEMA, verdict_schema

if TYPE_CHECKING:
    import duckdb

BINS = 40
# beyond these quantiles lie single pages that would press all others into one bin
LOW, HIGH = 0.005, 0.995


@dataclass(frozen=True)
class Line:
    """A threshold on the axis. `languages` is empty for one that holds for all of them."""

    rule: str
    value: float
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Histogram:
    """Pages by a measured value: counts of kept and of dropped ones between `edges` (one more than counts)."""

    name: str
    edges: list[float]
    kept: list[int]
    dropped: list[int]
    lines: list[Line] = field(default_factory=list)
    logarithmic: bool = False
    outside: int = 0
    """Pages beyond the outermost edges."""
    unmeasured: int = 0


def signal_histograms(
    db: "duckdb.DuckDBPyConnection", table: str, record: Record, languages: list[str]
) -> list[Histogram]:
    """Of every number that a stage before `filter` measured; those with a threshold first, in the rules' order."""
    config = record.recipe.config.get("filter", {})
    base = {field.name for field in verdict_schema(DOCUMENT_SCHEMA)}
    numbers = [name for name, kind in _columns(db, table) if name not in base and _is_number(kind)]
    lines = {name: _lines(name, config, languages) for name in numbers}
    ruled = [rule.partition("_")[2] for rule in config if rule.startswith(("min_", "max_"))]
    order = {name: place for place, name in reversed(list(enumerate(ruled)))}
    numbers.sort(key=lambda name: (not lines[name], order.get(name, len(order)), name))
    found = (_histogram(db, table, name, lines[name]) for name in numbers)
    return [histogram for histogram in found if histogram]


def lengths_of(db: "duckdb.DuckDBPyConnection", first: str, last: str) -> Histogram | None:
    """Characters of the texts that were extracted: those that are left at the end, and the others."""
    query = f"""select chars, doc_id in (select doc_id from {last} where decision <> 'dropped') as kept
                from {first} where decision <> 'dropped' and chars > 0"""
    columns = db.execute(query).fetchnumpy()
    values, kept = np.asarray(columns["chars"], float), np.asarray(columns["kept"], bool)
    if not len(values):
        return None
    return _counted("characters", np.log10(values), kept, [], logarithmic=True)


def _columns(db: "duckdb.DuckDBPyConnection", table: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, *_ in db.execute(f"describe {table}").fetchall()]


def _is_number(kind: str) -> bool:
    return kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE")


def _lines(signal: str, config: dict, languages: list[str]) -> list[Line]:
    """The thresholds on a signal; a language's own one where it differs from the general one."""
    lines = []
    for rule in (f"min_{signal}", f"max_{signal}"):
        general = thresholds_of(config, None).get(rule)
        if general is not None:
            lines.append(Line(rule, float(general)))
        own: dict[float, list[str]] = {}
        for language in languages:
            value = thresholds_of(config, language).get(rule)
            if value is not None and value != general:
                own.setdefault(float(value), []).append(language)
        lines += [Line(rule, value, tuple(codes)) for value, codes in sorted(own.items())]
    return lines


def _histogram(db: "duckdb.DuckDBPyConnection", table: str, name: str, lines: list[Line]) -> Histogram | None:
    quoted = '"' + name.replace('"', '""') + '"'
    query = f"select {quoted} as value, decision <> 'dropped' as kept from {table} where {quoted} is not null"
    columns = db.execute(query).fetchnumpy()
    values, kept = np.asarray(columns["value"], float), np.asarray(columns["kept"], bool)
    finite = np.isfinite(values)
    if not finite.any():
        return None
    (total,) = db.execute(f"select count(*) from {table}").fetchone() or (0,)
    return _counted(name, values[finite], kept[finite], lines, unmeasured=total - int(finite.sum()))


def _counted(
    name: str,
    values: NDArray[np.float64],
    kept: NDArray[np.bool_],
    lines: list[Line],
    *,
    logarithmic: bool = False,
    unmeasured: int = 0,
) -> Histogram:
    low, high = np.quantile(values, [LOW, HIGH])
    for line in lines:  # a threshold that nothing comes near to is named, but does not stretch the axis
        if low - (high - low) <= line.value <= high + (high - low):
            low, high = min(low, line.value), max(high, line.value)
    if high <= low:
        high = low + 1
    if any(0 <= high - line.value < 0.01 * (high - low) for line in lines):  # it could be taken for the frame
        high += 0.02 * (high - low)
    edges = np.linspace(low, high, BINS + 1)
    inside = (values >= low) & (values <= high)
    return Histogram(
        name=name,
        edges=[float(edge) for edge in edges],
        kept=np.histogram(values[inside & kept], edges)[0].tolist(),
        dropped=np.histogram(values[inside & ~kept], edges)[0].tolist(),
        lines=lines,
        logarithmic=logarithmic,
        outside=int((~inside).sum()),
        unmeasured=unmeasured,
    )
