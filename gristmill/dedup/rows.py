"""Rows of one's own for fine-tuning and alignment go past the stage `decontaminate`; benchmark items are found here."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gristmill.dedup.decontaminate_config import EXAMPLES, DecontaminateConfig, ItemFile, KeptOut
from gristmill.dedup.finder import Finder, PageCounter, write_indexes, write_rarity
from gristmill.dedup.item_files import read_items


def items_in_rows(texts: Sequence[str], prompts: Sequence[Hashable], kept_out: KeptOut) -> dict[int, str]:
    """Number of a text → the benchmark item that it holds, of several the longest. prompts: what each text answers.

    The rules are those of pages, and the texts themselves say which of their phrases are common: of those with one
    prompt the first alone. Most of an item is no common phrase, however many have it: people train on a benchmark under
    many templates. Raises ValueError for a benchmark's row that is no item.
    """
    config = kept_out.config
    items = [item for file in item_files(kept_out.asked, config) for item in read_items(file)]
    with TemporaryDirectory() as folder:
        index = Path(folder)
        write_indexes(index, items, config)
        counter = PageCounter(index)
        for text in dict(zip(reversed(prompts), reversed(texts), strict=True)).values():
            counter.add(text, speech=True)
        write_rarity(index, [counter.counts()])
        finder = Finder(index, config, however_common=True)
        found = ((number, finder.find(text)) for number, text in enumerate(texts))
        return {number: finder.name(matches[0].match.item)["key"] for number, matches in found if matches}


def item_files(examples: Path | None, config: DecontaminateConfig) -> list[ItemFile]:
    """The benchmarks' files, and the held-out items of the stage `examples` where that folder has some."""
    own = [ItemFile(path=examples / "held_out.jsonl", name=EXAMPLES)] if examples else []
    return [*(file for file in own if file.path.is_file()), *config.benchmarks]
