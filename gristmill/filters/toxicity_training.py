"""Training of the toxicity classifier: the same rows and seed give the same bytes.

fastText needs two things for that. One thread: several race. And a process of its own that takes large blocks of
memory from the system: with one thread fastText sets only the first tenth of its input matrix and leaves the rest as
the allocator hands it out, which is zero for a fresh page and anything for a used one (seen as other weights from run
to run, and as "Encountered NaN").
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gristmill.filters.labelled_text import LabelledText
from gristmill.filters.toxicity import HARMLESS_LABEL, TOXIC_LABEL, split_passages

MIN_ROWS = 10

# parts of words, so that spellings nobody listed are known by their neighbours; CUTOFF bounds the file to 1.8 MB
MODEL = {"loss": "softmax", "dim": 16, "minn": 3, "maxn": 5, "wordNgrams": 2, "minCount": 2, "epoch": 5, "lr": 0.1}
CUTOFF = {"cutoff": 90_000, "retrain": True, "qnorm": True, "epoch": 3, "lr": 0.1}


def train_classifier(rows: Sequence[LabelledText], out: Path, *, seed: int = 0, buckets: int = 200_000) -> None:
    """Fit on all `rows` and write the quantized model, under 2 MB, to `out`.

    Comments labelled harmless are repeated until they weigh as much as toxic ones, since collections of toxic text hold
    few; toxic comments without their toxic passages teach that the rest of an insult is harmless.
    buckets: hashes of word pairs and parts of words that are told apart. Raises ValueError for too few rows of a label.
    """
    for label, count in (("toxic", sum(row.toxic for row in rows)), ("harmless", sum(not row.toxic for row in rows))):
        if count < MIN_ROWS:
            raise ValueError(f"found {count} {label} texts; a classifier needs {MIN_ROWS} of each label at least")
    lines = _training_lines(rows)
    random.Random(seed).shuffle(lines)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "train.txt"
        text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "gristmill.filters.toxicity_training", str(text), str(out)]
        command += [str(seed), str(buckets)]
        fresh_pages = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_PERTURB_": "0"}
        done = subprocess.run(command, env=fresh_pages, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"fastText failed: {done.stderr.strip()[-500:]}")


def _training_lines(rows: Sequence[LabelledText]) -> list[str]:
    toxic = [passage for row in rows if row.toxic for passage in split_passages(row.text)]
    rests = [passage for row in rows if row.rest for passage in split_passages(row.rest) if passage.count(" ") >= 3]
    pages = [row for row in rows if not row.toxic and row.source == "documentation"]
    comments = [row for row in rows if not row.toxic and row.source != "documentation"]
    harmless = [passage for row in comments for passage in split_passages(row.text)]
    documented = [passage for row in pages for passage in split_passages(row.text)]
    copies = max(1, round(len(toxic) / max(1, len(harmless))))
    return [
        *(f"{TOXIC_LABEL} {passage}" for passage in toxic),
        *(f"{HARMLESS_LABEL} {passage}" for passage in [*rests, *documented, *harmless * copies]),
    ]


def _fit(text: str, out: str, seed: int, buckets: int) -> None:
    import fasttext

    model = fasttext.train_supervised(input=text, thread=1, seed=seed, bucket=buckets, verbose=0, **MODEL)
    model.quantize(input=text, thread=1, verbose=0, **CUTOFF)
    temporary = Path(f"{out}.tmp")
    model.save_model(str(temporary))
    temporary.replace(out)


if __name__ == "__main__":
    _fit(sys.argv[1], sys.argv[2], seed=int(sys.argv[3]), buckets=int(sys.argv[4]))
