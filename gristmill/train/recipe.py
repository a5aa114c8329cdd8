"""What a run computes from what, as it is kept in its checkpoints: only the same recipe may go on from them.

A field that a checkpoint does not know came later. It must then be at its default, and a default of a new field means
what was computed before there was one; so a run goes on after an upgrade. (A change that cannot keep to this is a new
format of checkpoints.)
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

Recipe = dict[str, Any]
"""`config` and `model` as they identify themselves, and digests: `tokens` of the data, `start` of the first weights."""

ABSENT = "absent"
CONFIG_OF_FORMAT_1 = {
    *("optim", "schedule", "tokens", "batch_rows", "micro_rows", "precision", "compile", "seed"),
    *("eval_every_steps", "log_every_steps", "max_skipped_steps"),
}
GROUPS_OF_FORMAT_1 = {
    "optim": {
        *("lr_matrix", "lr_embedding", "lr_head", "lr_norm", "weight_decay", "momentum", "beta1", "beta2", "grad_clip"),
    },
    "schedule": {"warmup_steps", "decay_ratio", "final_lr_ratio"},
}
MODEL_OF_FORMAT_1 = {
    *("start", "family", "depth", "width", "heads", "kv_heads", "head_dim", "ffn_width", "tie_embeddings", "rope_theta")
}


def differences(stored: Recipe, ours: Recipe, defaults: Recipe) -> list[str]:
    """Each field in which another recipe was followed, such as `config.seed: 0 there, 1 here`."""
    there, here, default = (dict(_leaves(recipe)) for recipe in (stored, ours, defaults))
    return [
        f"{name}: {there.get(name, ABSENT)} there, {here.get(name, ABSENT)} here"
        for name in sorted(there.keys() | here.keys())
        if here.get(name, ABSENT) != there.get(name, default.get(name, ABSENT))
    ]


def is_recipe_of_format_1(ours: Recipe, defaults: Recipe, *, digest: str) -> bool:
    """Whether a checkpoint of the first format, which kept only a digest of its recipe, is of this run."""
    config = {name: value for name, value in ours["config"].items() if name in CONFIG_OF_FORMAT_1}
    for name, known in GROUPS_OF_FORMAT_1.items():
        config[name] = {key: value for key, value in config[name].items() if key in known}
    model = {name: value for name, value in ours["model"].items() if name in MODEL_OF_FORMAT_1}
    then = {**ours, "config": config, "model": model}
    return not differences(then, ours, defaults) and digest == digest_of(config, model, ours["tokens"], ours["start"])


def digest_of(*facts: object) -> str:
    """sha256 of JSON-able facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value
