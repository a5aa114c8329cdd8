"""`gristmill profile`: what reference texts say about their language, as a file."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Only = Annotated[
    tuple[str, ...],
    Parameter(name="--only", negative="", help="Of rows with this key only those with this value: lang=de."),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]


def profile(
    references: Annotated[
        tuple[Path, ...], Parameter(help="Good text: .jsonl, .parquet or .txt; .jsonl.gz and .txt.gz too.")
    ],
    /,
    *,
    language: str,
    out: Annotated[Path | None, Parameter(help="The profile; default: LANGUAGE.json here.")] = None,
    key: Annotated[str, Parameter(help="Where the text is in a row.")] = "text",
    only: Only = (),
    keep: Annotated[float, Parameter(help="Share of the training part that each rule keeps at least.")] = 0.99,
    loosen: Annotated[bool, Parameter(help="Loosen thresholds that keep less; otherwise only report.")] = True,
    note: Annotated[str, Parameter(help="What the reference is; written into the profile.")] = "",
    as_json: Json = False,
) -> int:
    """Derive stop words, sentence ends, abbreviations and thresholds of a language from text that is known to be good.

    Four fifths of the texts are learned from; on the rest each rule says what share of good text it keeps.
    """
    from gristmill.filters.profile import make_profile
    from gristmill.filters.reference_text import read_reference

    if not 0 < keep <= 1:
        raise ValueError(f"--keep {keep}: expected a share above 0 and at most 1, such as 0.99")
    wanted = dict(_pair(each) for each in only)
    found = [read_reference(path, key=key, only=_of(path, wanted)) for path in references]
    made = make_profile(found, language=language, keep=keep, loosen=loosen, note=note)
    out = out or Path(f"{language}.json")
    out.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps({"schema_version": 1, "profile": made}, ensure_ascii=False))
        return 0
    show(made)
    rules = json.dumps(made["thresholds"], ensure_ascii=False)
    print(f"{out}: `filter.by_language.{language}: {rules}` uses these thresholds, and", file=sys.stderr)
    words = json.dumps(made["stop_words"], ensure_ascii=False)
    print(f"`signals.stop_words.{language}: {words}` these stop words", file=sys.stderr)
    return 0


def show(made: dict) -> None:
    """The profile as a table: each rule, where it started, what the reference asks for, and what it keeps."""
    documents = made["documents"]
    print(f"{documents['training']} documents to learn from, {documents['held_out']} held out")
    print(f"stop words: {' '.join(made['stop_words'])}")
    print(f"sentences end with {made['sentence_ends']}; abbreviations: {' '.join(made['abbreviations']) or 'none'}")
    print("| rule | start | reference alone | threshold | held-out text kept |\n|---|---|---|---|---|")
    for rule, found in made["rules"].items():
        print(f"| {rule} | " + " | ".join("–" if value is None else f"{value:g}" for value in found.values()) + " |")
    for name, share in made["held_out_share_kept"].items():
        print(f"{name.replace('_', ' ')}: {'–' if share is None else f'{share:.1%}'} of the held-out documents kept")


def _pair(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise ValueError(f"--only {given}: expected key=value, such as lang=de")
    return name, value


def _of(path: Path, wanted: dict[str, str]) -> dict[str, str] | None:
    return wanted if wanted and not path.name.endswith((".txt", ".txt.gz")) else None
