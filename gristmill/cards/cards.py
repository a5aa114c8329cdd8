"""The cards as Markdown and the tags of a registered version."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gristmill.cards.facts import CardFacts, gather
from gristmill.cards.limits import limits_of
from gristmill.cards.markdown import inline
from gristmill.html.shown import count, duration, number
from gristmill.ledger.config import PricesConfig
from gristmill.store import ArtifactStore

FOLDER = Path(__file__).parent
MODEL_CARD, DATA_CARD, LICENCE = "model_card.md", "data_card.md", "LICENSE.txt"
LONGEST_TAG, LONGEST_LINEAGE = 5_000, 90_000  # MLflow takes 100,000 characters; a night adds some 220 to a lineage


@dataclass(frozen=True)
class Cards:
    """What is logged with a registered version. files: name → text. summary: a few lines of Markdown."""

    files: dict[str, str]
    tags: dict[str, str]
    summary: str

    def with_tags(self, more: dict[str, str]) -> "Cards":
        return replace(self, tags=self.tags | more)

    def write(self, folder: Path) -> None:
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")


def make_cards(store: ArtifactStore, checkpoint: str, evaluation: str, *, name: str, prices: PricesConfig) -> Cards:
    """Cards of a model that is to be registered under `name`; what it cost is stated at these prices."""
    facts = gather(store, checkpoint, evaluation, name=name, prices=prices)
    files = {
        MODEL_CARD: _render("model_card.md.j2", facts),
        DATA_CARD: _render("data_card.md.j2", facts),
        LICENCE: licence_text(facts),
    }
    return Cards(files, tags_of(facts), summary_of(facts))


def tags_of(facts: CardFacts) -> dict[str, str]:
    """Tag → value, without the prefix `gristmill.`."""
    tags = {
        "artifact": facts.checkpoint,
        "evaluation": facts.evaluation,
        "parents": _joined(facts.parents),
        "lineage": _joined(facts.lineage, LONGEST_LINEAGE),
        "config_hash": facts.config_hash,
        "git_commit": _joined(facts.git_commits) or "not in a checkout",
        "sources": json.dumps(facts.licences, ensure_ascii=False),
        "decontamination": facts.decontamination_status,
    }
    if facts.origin:
        tags |= {"origin": facts.origin.name, "license": facts.origin.license}
    return {name: value if name == "lineage" else value[:LONGEST_TAG] for name, value in tags.items()}


def _joined(words: Sequence[str], longest: int = LONGEST_TAG) -> str:
    """With blanks between them; those that do not fit are counted at the end."""
    lengths = list(accumulate(len(word) + 1 for word in words))
    fit = bisect_right(lengths, longest - len(f"…and {len(words)} more"))
    return " ".join(words if fit == len(words) else [*words[:fit], f"…and {len(words) - fit} more"])


def summary_of(facts: CardFacts) -> str:
    """For the page of the version in the registry."""
    size = f"{facts.parameters:,} parameters, " if facts.parameters else ""
    start = f"from {inline(facts.origin.name)}" if facts.origin else "from scratch"
    return (
        f"{size}trained {start}. Decontamination: {inline(facts.decontamination_status)}.\n\n"
        f"The files {MODEL_CARD} and {DATA_CARD} of this model say what went in, what was dropped and why, how it "
        "scored, and what it is not good for.\n"
    )


def licence_text(facts: CardFacts) -> str:
    """In place of the text that MLflow writes, which looks for the model on a hub."""
    if facts.origin:
        return (
            f"This model was made from {facts.origin.name}, whose licence is {facts.origin.license}.\n"
            "Its terms hold for this model too.\n"
            f"The licences of what it learned from since are listed in {DATA_CARD}.\n"
        )
    return (
        "This model was trained from scratch, and its owner has stated no licence for it.\n"
        f"The licences of its training text and rows are listed in {DATA_CARD}.\n"
    )


def front_matter(facts: CardFacts) -> str:
    """The YAML head that hubs and libraries read."""
    languages = [language for language, _ in facts.languages if language.isalpha() and len(language) <= 3]
    licence: dict[str, Any] = {"license": "other", "license_name": "not-stated"}
    if facts.origin:
        licence = {"license": "other", "license_name": facts.origin.license}
    head = licence | {"language": languages, "library_name": "transformers", "pipeline_tag": "text-generation"}
    return yaml.safe_dump({**head, "tags": ["gristmill"]}, sort_keys=False, allow_unicode=True)


def _render(template: str, facts: CardFacts) -> str:
    # Markdown and no HTML: whatever was recorded goes through `inline`
    environment = Environment(  # nosec B701
        loader=FileSystemLoader(FOLDER),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(inline=inline, count=count, number=number, duration=duration)
    return environment.get_template(template).render(facts=facts, limits=limits_of(facts), front=front_matter(facts))
