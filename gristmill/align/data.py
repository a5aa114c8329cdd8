"""Rows that train and rows that measure: read, told apart by format, copies left out, divided by prompt.

A row that cannot be understood is an error that names file and row. One that is understood but left out is counted by
reason and listed in `dropped.jsonl`: an empty answer, two equal ones, a copy of an earlier row, a benchmark's item in
it, half a character, too many tokens.

What decides a row's side is how its conversation begins, so that no turn that trains is part of a prompt that measures.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from gristmill.align import formats
from gristmill.align.formats import Conversation, Labelled, LabelledText, Pair
from gristmill.align.row_files import license_of, read_rows, rows_of
from gristmill.align.rows_config import ArtifactRows, ExampleRows, FileRows, HubRows, MixedRows
from gristmill.dedup.decontaminate_config import KeptOut
from gristmill.dedup.rows import items_in_rows
from gristmill.evaluate.chat_format import Message
from gristmill.model.origin import data_licenses, note_data_license

BENCHMARK_ITEM = "benchmark_item"
NOT_UNICODE = "not_unicode"
AnyRows = ExampleRows | ArtifactRows | FileRows | HubRows
R = TypeVar("R", Conversation, Pair, Labelled, LabelledText)


@dataclass(frozen=True)
class Dropped:
    """A row that was left out. `row`: file and number."""

    row: str
    reason: str
    value: str = ""
    """What was found, where the reason does not say it all."""


@dataclass
class Split(Generic[R]):
    """Rows to train on, rows to measure with, those left out, and what is known of all of them."""

    train: list[R] = field(default_factory=list)
    held_out: list[R] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    license: str | None = None
    """None: rows of an artifact, whose own record says where they come from."""
    rows: int = 0
    """Rows that were read."""

    def details(self) -> dict[str, Any]:
        """For the report: the formats that were found and the licence that was declared."""
        found = Counter(row.format for row in (*self.train, *self.held_out))
        return {"formats": dict(sorted(found.items())), "data_license": self.license}


def read_conversations(
    source: AnyRows | MixedRows, examples: Path | None, kept_out: KeptOut | None = None
) -> Split[Conversation]:
    """Rows for SFT. kept_out: rows that hold one of these benchmark items do not train.

    Raises ValueError naming file and row, or when either part is empty.
    """
    read = _mixed(source) if isinstance(source, MixedRows) else _read(source, examples, "sft", _instruction)
    return _without_items(read, kept_out)


def _instruction(row: dict[str, Any], where: str) -> list[Conversation] | formats.Reason:
    return _one(formats.conversation(row, where))


def _mixed(source: MixedRows) -> Split[Conversation]:
    """Tasks in their order. Of a row in several the copy of a held-out task is kept, else the first. A row does not
    train in one task when another one holds out what begins as it does."""
    seen: set[bytes] = set()
    held_out_first = sorted(source.tasks, key=lambda name: source.tasks[name].weight > 0)
    splits = {name: _read(source.tasks[name].rows, None, "sft", _instruction, seen=seen) for name in held_out_first}
    for name, task in source.tasks.items():
        if not task.weight:
            splits[name].held_out += splits[name].train
            splits[name].train = []
    measured = {_digest(opening(row.prompt)) for split in splits.values() for row in split.held_out}
    whole: Split[Conversation] = Split(license=" AND ".join(sorted({str(one.license) for one in splits.values()})))
    for name, task in source.tasks.items():
        split = splits[name]
        train, held_out = ([replace(row, task=name) for row in part] for part in (split.train, split.held_out))
        kept = [row for row in train if _digest(opening(row.prompt)) not in measured]
        leaks = [row for row in train if _digest(opening(row.prompt)) in measured]
        dropped = [*split.dropped, *(Dropped(row.row, "held_out_in_another_task") for row in leaks)]
        whole.dropped += [Dropped(f"{name}: {row.row}", row.reason) for row in dropped]
        whole.held_out += held_out
        whole.train += _repeated(kept, task.weight)
        whole.rows += split.rows
    if not whole.train:
        raise ValueError("the mix has no row to train on that no task holds out; give a task more rows or more weight")
    return whole


def _repeated(rows: list[Conversation], times: float) -> list[Conversation]:
    """Each row as often as said; of a fraction of the rows, which their content draws, once more."""
    whole, rest = divmod(times, 1)
    return [*rows * int(whole), *(row for row in rows if _share(row.messages, salt="mix") < rest)]


def read_pairs(source: AnyRows, examples: Path | None, kept_out: KeptOut | None = None) -> Split[Pair]:
    """Preference pairs, otherwise as `read_conversations`."""
    read = _read(source, examples, "preferences", lambda row, where: _one(formats.pair(row, where)))
    return _without_items(read, kept_out)


def half_of(pairs: list[Pair], half: int | None) -> list[Pair]:
    """Those pairs whose opening falls into this half (0 or 1); all of them for None."""
    return [pair for pair in pairs if half is None or (_share(opening(pair.prompt), salt="half") < 0.5) == (half == 0)]


def read_labelled(source: AnyRows, examples: Path | None, kept_out: KeptOut | None = None) -> Split[Labelled]:
    """Labelled answers for KTO, preference pairs as two each, otherwise as `read_conversations`."""
    return _without_items(_read(source, examples, "preferences", formats.labelled), kept_out)


def read_labelled_texts(source: FileRows | HubRows) -> Split[LabelledText]:
    """Rows for a classifier. Raises ValueError as `read_conversations` does."""
    return _read(source, None, "texts", lambda row, where: _one(formats.labelled_text(row, where)))


def is_held_out(prompt: Sequence[Message] | str, share: float) -> bool:
    """Whether a prompt is among the share of all prompts that never train. Every reader of rows asks here, so that
    two stages agree on one file; what is held out of a smaller share is held out of a larger one too."""
    return _share(_beginning(prompt)) < share


def _beginning(prompt: Sequence[Message] | str) -> list[Message] | str:
    return prompt if isinstance(prompt, str) else opening(prompt)


def opening(prompt: Sequence[Message]) -> list[Message]:
    """The messages up to the user's first, which all continuations of a conversation have in common."""
    first = next((place for place, message in enumerate(prompt) if message["role"] == "user"), len(prompt))
    return list(prompt[: first + 1])


def note_licenses(out: Path, stage: str, license: str | None, kind: str, examples: Path | None) -> None:
    """Write down beside a model what is declared of its rows, or of those in `examples` where they are its rows.

    kind: of `data` or `prompts`.
    """
    note_data_license(out, stage, license)
    if examples and kind in ("examples", "artifact"):
        for writer, license in data_licenses(examples).items():
            note_data_license(out, writer, license)


def write_dropped(dropped: list[Dropped], out: Path) -> dict[str, int]:
    """List the rows that were left out in `dropped.jsonl`; returns how many there are, by reason."""
    with (out / "dropped.jsonl").open("w", encoding="utf-8") as file:
        for row in dropped:
            shown = {name: value for name, value in asdict(row).items() if value}
            file.write(json.dumps(shown, ensure_ascii=False) + "\n")
    return dict(sorted(Counter(row.reason for row in dropped).items()))


def _without_items(split: Split[R], kept_out: KeptOut | None) -> Split[R]:
    if kept_out is None:
        return split
    prompts = [_digest(_beginning(one.prompt)) for one in split.train]
    found = items_in_rows([one.text for one in split.train], prompts, kept_out)
    if len(found) == len(split.train):
        raise ValueError(
            f"{len(found)} of {len(found)} rows to train on hold a benchmark item, such as {found[0]}; give rows "
            "that are not the benchmark's own"
        )
    split.dropped += [Dropped(split.train[number].row, BENCHMARK_ITEM, item) for number, item in found.items()]
    split.train = [one for number, one in enumerate(split.train) if number not in found]
    return split


def _one(parsed: R | formats.Reason) -> list[R] | formats.Reason:
    return parsed if isinstance(parsed, str) else [parsed]


def _read(
    source: AnyRows,
    examples: Path | None,
    name: str,
    parse: Callable[[dict[str, Any], str], list[R] | formats.Reason],
    *,
    seen: set[bytes] | None = None,
) -> Split[R]:
    """seen: digests of rows that are copies from now on; those that are read are added."""
    split: Split[R] = Split(license=license_of(source) if isinstance(source, FileRows | HubRows) else None)
    seen = set() if seen is None else seen
    for where, row, held_out in _rows(source, examples, name):
        parsed = parse(row, where)
        split.rows += 1 if isinstance(parsed, str) else len(parsed)
        if isinstance(parsed, str):
            split.dropped.append(Dropped(where, parsed))
            continue
        for one in parsed:
            if not is_unicode(one.text):
                split.dropped.append(Dropped(where, NOT_UNICODE))
                continue
            content = _digest({**asdict(one), "row": None, "format": None})
            if content in seen:
                split.dropped.append(Dropped(where, "duplicate"))
                continue
            seen.add(content)
            measures = is_held_out(one.prompt, source.held_out) if isinstance(source, FileRows | HubRows) else held_out
            (split.held_out if measures else split.train).append(one)
    if len(split.train) == 0 or len(split.held_out) < 2:
        raise ValueError(
            f"{_named(source, name)}: {len(split.train)} rows to train on and {len(split.held_out)} held out, after "
            f"leaving out {len(split.dropped)}; at least 1 and 2 are needed, so give more rows"
        )
    return split


def _rows(source: AnyRows, examples: Path | None, name: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(file:row, fields, whether it stands in a file of held-out rows)."""
    if isinstance(source, FileRows | HubRows):
        yield from ((where, row, False) for where, row in rows_of(source))
        return
    if examples is None:
        raise ValueError(f"data.kind is `{source.kind}` but no examples folder was given; give one, or use kind: files")
    # the held-out file first: of a row that stands in both, the copy that trains is the one left out
    for path, held_out in ((examples / f"{name}_held_out.jsonl", True), (examples / f"{name}.jsonl", False)):
        yield from ((where, row, held_out) for where, row in read_rows(path))


def is_unicode(text: str) -> bool:
    """False for a lone surrogate, which JSON can spell and no tokenizer reads: half of a character outside UTF-16's 16
    bits, as truncated text has it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _share(content: Sequence[Message] | str, *, salt: str = "") -> float:
    """A number from 0 to 1 that the content decides, another one for each salt."""
    return int.from_bytes(_digest([salt, *content] if salt else content)[:8]) / 2**64


def _digest(content: Any) -> bytes:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


def _named(source: AnyRows, name: str) -> str:
    if isinstance(source, FileRows):
        return ", ".join(source.paths)
    return source.hub if isinstance(source, HubRows) else f"{name}.jsonl of examples"
