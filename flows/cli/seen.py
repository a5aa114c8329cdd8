"""`gristmill seen`: does the corpus hold this page, or one that is nearly the same?"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli import workspace

if TYPE_CHECKING:
    from gristmill.dedup.seen import Answer

SCHEMA_VERSION = 1
SHOWN = 3


def seen(
    files: Annotated[tuple[Path, ...], Parameter(help="Text, HTML, or JSON lines with `text` and maybe `url`.")],
    /,
    *,
    artifact: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A `known` or `signatures` artifact; every `known` one when left out."),
    ] = (),
    threshold: Annotated[float, Parameter(help="Exact Jaccard similarity from which a page counts as seen.")] = 0.8,
    url: Annotated[str | None, Parameter(help="Ask for this URL too, in any spelling.")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")] = False,
) -> int:
    """Say whether a page is known: the nearest document that a corpus holds, how similar, its URL and artifact."""
    from gristmill.dedup.seen import SeenIndex, read_questions

    if not 0 < threshold <= 1:
        raise ValueError(f"--threshold {threshold}: expected a similarity above 0 and at most 1, such as 0.8")
    store = workspace.store()
    addresses = artifact or _known()
    for address in addresses:
        store.load(address)
    index = SeenIndex({address: store.path(address) for address in addresses})
    questions = (question for path in files for question in read_questions(path))
    answers = [index.ask(replace(question, url=url or question.url)) for question in questions]
    if as_json:
        told = [_as_json(answer, threshold) for answer in answers]
        print(json.dumps({"schema_version": SCHEMA_VERSION, "documents": len(index), "pages": told}, indent=2))
        return 0
    for answer in answers:
        print("\n".join(_lines(answer, threshold)))
    return 0


def _known() -> tuple[str, ...]:
    found = [record.address for record in workspace.store().records() if record.recipe.stage == "known"]
    if not found:
        raise ValueError(
            f"no `known` artifact in {workspace.store()}; run a flow to its stage known, or name a signatures "
            "--artifact"
        )
    return tuple(found)


def _as_json(answer: "Answer", threshold: float) -> dict[str, Any]:
    return {
        "name": answer.name,
        "words": answer.words,
        "seen": answer.seen(threshold),
        "neighbours": [asdict(each) for each in answer.neighbours[:SHOWN]],
        "same_url": [asdict(each) for each in answer.same_url],
    }


def _lines(answer: "Answer", threshold: float) -> list[str]:
    from gristmill.pages import printable

    if answer.words == 0:
        lines = [f"{answer.name}: no words, nothing to compare"]
    elif not answer.neighbours:
        lines = [f"{answer.name}: not seen; no known page shares a band with it"]
    else:
        verdict = "seen" if answer.seen(threshold) else f"not seen at {threshold:g}"
        lines = [f"{answer.name}: {verdict}"]
        lines += [
            f"  {each.jaccard:.3f}  {each.doc_id}  {each.url}  {each.artifact}" for each in answer.neighbours[:SHOWN]
        ]
    lines += [
        f"  same URL, {each.jaccard:.3f} of its words  {each.doc_id}  {each.artifact}" for each in answer.same_url
    ]
    return [printable(line) for line in lines]
