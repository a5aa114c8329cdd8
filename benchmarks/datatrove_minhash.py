"""datatrove's MinHash signatures of texts; started by `dedup_vs_peers.py`, prints JSON.

Runs in an environment of its own (see benchmarks/README.md), so it imports nothing of gristmill. In: `{"text": …}` a
line, and how many rounds. Out: `cpu_s`, the CPU seconds of each round of its first step, `MinhashDedupSignature`, with
its defaults (word 5-grams of its English tokenizer, 14 buckets of 8 hashes): texts in memory to sorted files.
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashDedupSignature
from datatrove.utils.text import split_into_words
from loguru import logger


def main() -> None:
    logging.disable(logging.CRITICAL)
    logger.remove()
    texts = [json.loads(line)["text"] for line in Path(sys.argv[1]).read_text(encoding="utf-8").split("\n") if line]
    split_into_words("The tokenizer is loaded once a worker.")
    print(json.dumps({"cpu_s": [signatures(texts) for _ in range(int(sys.argv[2]))]}))


def signatures(texts: list[str]) -> float:
    """CPU seconds for all texts."""
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder)
        step.get_shingles("So is the one of this step.")
        started = time.process_time()
        step.run(iter(documents))
        return time.process_time() - started


if __name__ == "__main__":
    main()
