"""Training of a classifier: the same rows and seed give the same bytes.

fastText needs two things for that. One thread: several race. And a process of its own that takes large blocks of
memory from the system: with one thread fastText sets only the first tenth of its input matrix and leaves the rest as
the allocator hands it out, which is zero for a fresh page and anything for a used one (seen as other weights from run
to run, and as "Encountered NaN").
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gristmill.filters.classifier import PREFIX, Task
from gristmill.filters.labelled_text import LabelledText

MIN_ROWS = 10
MIN_LINES = 20_000
MIN_BUCKETS = 5000

MODEL = {"loss": "softmax", "dim": 16, "wordNgrams": 2, "minCount": 2}
# parts of words, so that spellings nobody listed are known by their neighbours; whole words for what a text is about
PARTS = {"toxicity": {"minn": 3, "maxn": 5}, "literacy": {"minn": 3, "maxn": 5, "minCount": 1}}
# bounds the file to 1.8 MB; the nearest known weights move all scores a little to one side, so it is not the default
COMPRESSED = {"cutoff": 90_000, "retrain": True, "qnorm": True, "epoch": 3, "lr": 0.1}


def train_classifier(
    rows: Sequence[LabelledText],
    out: Path,
    task: Task,
    *,
    seed: int = 0,
    buckets: int = 200_000,
    compress: bool = False,
) -> None:
    """Fit on all `rows` and write the model to `out`: some 13 MB, compressed under 2 MB.

    The texts of the negative label are repeated until they weigh as much as the positive ones. Toxic comments without
    their toxic passages teach that the rest of an insult is harmless.
    buckets: hashes of word pairs and parts of words that are told apart. Raises ValueError for too few rows of a label.
    """
    assert buckets >= MIN_BUCKETS, "a smaller matrix is not taken from fresh pages, and holds anything"
    _require_rows(rows, task)
    lines = training_lines(rows, task)
    random.Random(seed).shuffle(lines)
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = MODEL | PARTS.get(task.name, {"minn": 0, "maxn": 0}) | effort(len(lines))
    settings |= {"seed": seed, "bucket": buckets}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "train.txt"
        text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "gristmill.filters.classifier_training", str(text), str(out)]
        command += [json.dumps(settings), json.dumps(COMPRESSED if compress else {})]
        fresh_pages = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_PERTURB_": "0"}
        done = subprocess.run(command, env=fresh_pages, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"fastText failed: {done.stderr.strip()[-500:]}")


def effort(lines: int) -> dict[str, float]:
    """Passes over the lines and learning rate: few lines are read more often and at a higher rate.

    Five passes over 2,000 German tweets leave the weights where they began (ROC AUC .57); fifty reach .74.
    """
    if lines >= MIN_LINES:
        return {"epoch": 5, "lr": 0.1}
    return {"epoch": min(400, max(10, 100_000 // lines)), "lr": 0.2}


def training_lines(rows: Sequence[LabelledText], task: Task) -> list[str]:
    """A label and a passage each."""
    if not task.positive:
        return [f"{PREFIX}{row.label} {passage}" for row in rows for passage in task.passages(row.text)]
    positive = [passage for row in rows if row.label == task.positive for passage in task.passages(row.text)]
    rests = [passage for row in rows if row.rest for passage in task.passages(row.rest) if passage.count(" ") >= 3]
    others = [row for row in rows if row.label == task.negative]
    documented = [passage for row in others if row.source == "documentation" for passage in task.passages(row.text)]
    negative = [passage for row in others if row.source != "documentation" for passage in task.passages(row.text)]
    copies = max(1, round(len(positive) / max(1, len(negative))))
    return [
        *(f"{PREFIX}{task.positive} {passage}" for passage in positive),
        *(f"{PREFIX}{task.negative} {passage}" for passage in [*rests, *documented, *negative * copies]),
    ]


def _require_rows(rows: Sequence[LabelledText], task: Task) -> None:
    counts = Counter(row.label for row in rows)
    labels = (task.positive, task.negative) if task.positive else sorted(counts)
    for label in labels:
        if counts[label] < MIN_ROWS:
            raise ValueError(
                f"found {counts[label]} {label} texts to train on; a classifier needs {MIN_ROWS} of each label at least"
            )
    if len(labels) < 2:
        raise ValueError(f"found the labels {', '.join(labels) or 'none'}; a classifier tells at least two apart")


def _fit(text: str, out: str, settings: dict[str, Any], compressed: dict[str, Any]) -> None:
    import fasttext

    model = fasttext.train_supervised(input=text, thread=1, verbose=0, **settings)
    if compressed:
        model.quantize(input=text, thread=1, verbose=0, **compressed)
    temporary = Path(f"{out}.tmp")
    model.save_model(str(temporary))
    temporary.replace(out)


if __name__ == "__main__":
    _fit(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4]))
