"""A classifier from a language model: `python -m gristmill.align.classification --config run.yaml --out DIR`.

The output matrix gives way to one row for each class, read at the text's end (or beginning, for a model that looks both
ways). The folder is a `…ForSequenceClassification` that knows its classes' names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.align.config import SftConfig, SftRun
from gristmill.align.data import Dropped, read_labelled_texts, write_dropped
from gristmill.align.formats import LabelledText
from gristmill.align.rows import enough
from gristmill.align.rows_config import FileRows, HubRows
from gristmill.evaluate.statistics import mean_interval, paired_difference
from gristmill.model.config import is_masked_model
from gristmill.model.origin import note_data_license
from gristmill.program import run_program
from gristmill.report import Report
from gristmill.schema import Resources

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def run_classification(model: Path, out: Path, config: SftConfig, resources: Resources) -> Report:
    """Fine-tune the model in folder `model`; write a model folder and metrics.jsonl to `out`.

    The report has accuracy and F1 on held-out texts, beside always naming the commonest class, and the confusion
    matrix. Raises ValueError for rows without two classes to train on, or with a held-out class that none trains.
    """
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    from gristmill.align import adapters, trl_adapter
    from gristmill.evaluate.checkpoints import prepare_process

    assert isinstance(config.data, FileRows | HubRows)
    if config.adapter and is_masked_model(model):
        raise ValueError(
            f"{model.name} looks both ways, and its classifier has a new layer that no adapter keeps; set adapter: null"
        )
    device = prepare_process(resources)
    rows = read_labelled_texts(config.data)
    classes = _classes(rows.train, rows.held_out)

    def load(quantization: Any = None) -> "PreTrainedModel":
        return _load(model, device, classes, seed=config.seed, quantization=quantization)

    classifier, tokenizer = load(adapters.quantization(config.adapter, device)), _tokenizer(model)
    limit = trl_adapter.context_length(classifier, config)
    train_rows, train_dropped = _encode(tokenizer, rows.train, classes, limit)
    held_out, held_out_dropped = _encode(
        tokenizer, rows.held_out[: config.held_out_rows], classes, limit, held_out=True
    )
    trainer = Trainer(
        adapters.attached(classifier, config.adapter, "scores"),
        trl_adapter.trainer_arguments(TrainingArguments, config, out, device),
        data_collator=_Padded(DataCollatorWithPadding(tokenizer)),
        train_dataset=Dataset.from_list(train_rows),  # pyright: ignore[reportArgumentType]
    )
    trl_adapter.train(trainer, out, label="sft")
    classifier = adapters.merged(trainer.model, config.adapter, out, base=model, reload=load)
    found = _predictions(classifier, [row["input_ids"] for row in held_out])
    trl_adapter.save_checkpoint(classifier, model, out, tokenizer, config.adapter)
    note_data_license(out, "sft", rows.license)
    commonest = int(np.bincount([row["labels"] for row in train_rows]).argmax())
    metrics, details = scores(found, np.array([row["labels"] for row in held_out]), commonest, classes, config.seed)
    return Report(
        rows_in=rows.rows,
        rows_out=len(train_rows),
        unit="texts",
        dropped=write_dropped(rows.dropped + train_dropped + held_out_dropped, out),
        metrics=metrics,
        details={**details, "held_out_texts": len(held_out), **rows.details()},
    )


def scores(
    found: np.ndarray, right: np.ndarray, commonest: int, classes: list[str], seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics, and details by class. found, right: [texts], numbers of classes; commonest: that of the training texts.

    F1 is the mean over classes of the harmonic mean of precision and recall (macro); a class without a right answer
    has 0.
    """
    from sklearn.metrics import confusion_matrix, f1_score

    numbers = list(range(len(classes)))
    hit, by_rule = (found == right).astype(float), (right == commonest).astype(float)
    by_class: Any = f1_score(right, found, labels=numbers, average=None, zero_division=0.0)  # pyright: ignore[reportArgumentType]
    matrix = confusion_matrix(right, found, labels=numbers)
    return {
        **mean_interval(hit, seed=seed).metrics("held_out_accuracy"),
        "commonest_class_accuracy": float(by_rule.mean()),
        **paired_difference(hit, by_rule, seed=seed).metrics("held_out_accuracy_minus_commonest"),
        "held_out_f1": float(np.mean(by_class)),
    }, {
        "classes": classes,
        "f1": dict(zip(classes, map(float, by_class), strict=True)),
        "confusion_matrix": {
            "rows": "right class",
            "columns": "answered class",
            "counts": matrix.tolist(),
        },
    }


def _classes(train: Sequence[LabelledText], held_out: Sequence[LabelledText]) -> list[str]:
    classes = sorted({row.label for row in train})
    unknown = sorted({row.label for row in held_out} - set(classes))
    if len(classes) < 2 or unknown:
        raise ValueError(
            f"the texts to train on have the classes {', '.join(classes)}, held-out ones beside them "
            f"{', '.join(unknown) or 'none'}; at least two classes, and each with texts to train on, are needed"
        )
    return classes


def _load(folder: Path, device: Any, classes: list[str], *, seed: int, quantization: Any) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForSequenceClassification

    from gristmill.evaluate.checkpoints import placed_later

    torch.manual_seed(seed)  # of the new head
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=len(classes),
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
        dtype=torch.float32,
        local_files_only=True,
        **placed_later(device, quantization),
    )
    if quantization is None:
        model.to(device)
    model.config.pad_token_id = _tokenizer(folder).pad_token_id
    return model


def _tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    from gristmill.evaluate.checkpoints import load_tokenizer

    return load_tokenizer(folder)


def _encode(
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[LabelledText],
    classes: list[str],
    max_tokens: int,
    *,
    held_out: bool = False,
) -> tuple[list[dict[str, Any]], list[Dropped]]:
    """Texts that fit, each between the tokens that begin and end one."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    last = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    begin, end = ([] if token is None else [token] for token in (first, last))
    kept, dropped = [], []
    for row in rows:
        # a text that spells a special token is a text
        inside = tokenizer(row.text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        ids = [*begin, *inside, *end]
        if len(ids) <= max_tokens:
            kept.append({"input_ids": ids, "labels": classes.index(row.label), "length": len(ids)})
        else:
            dropped.append(Dropped(row.row, "too_long"))
    return enough(kept, rows, max_tokens, held_out=held_out), dropped


class _Padded:
    """Batches without the column that the sampler looks at."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        return self.collate([{name: value for name, value in row.items() if name != "length"} for row in rows])


def _predictions(model: "PreTrainedModel", rows: Sequence[Sequence[int]]) -> np.ndarray:
    """The number of the likeliest class of each row of token ids. [rows]"""
    import torch

    model.eval()
    with torch.no_grad():
        found = [
            int(model(input_ids=torch.tensor([ids], device=model.device)).logits.argmax(dim=-1).item()) for ids in rows
        ]
    return np.array(found)


if __name__ == "__main__":
    run_program(
        "gristmill.align.classification",
        SftRun,
        lambda run, out: run_classification(run.model, out, run.config, run.resources),
    )
