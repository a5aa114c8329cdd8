"""The whole pipeline's configuration: one section a stage, facts that several stages share stated once."""

from typing import Self

from pydantic import Field, model_validator

from gristmill.align.config import AlignConfig, RewardModelConfig, SftConfig
from gristmill.crawl.config import IngestConfig
from gristmill.dedup.config import DedupConfig
from gristmill.dedup.decontaminate_config import DecontaminateConfig, ItemFile
from gristmill.evaluate.config import EvaluateConfig, JsonlItems, PromoteConfig
from gristmill.examples.config import ExamplesConfig
from gristmill.filters.config import FilterConfig, SignalsConfig
from gristmill.model.config import ModelConfig
from gristmill.schema import Resources, Schema
from gristmill.serve.config import RegisterConfig
from gristmill.text.config import ExtractConfig, SplitConfig
from gristmill.tokens.config import MixConfig, TokenizeConfig, TokenizerConfig, TrainedTokenizer
from gristmill.train.config import PretrainConfig


class PipelineConfig(Schema):
    """What `gristmill run` computes (one section a stage) and how (`resources`, never part of a key)."""

    ingest: IngestConfig
    extract: ExtractConfig = ExtractConfig()
    signals: SignalsConfig = SignalsConfig()
    filter: FilterConfig = FilterConfig()
    dedup: DedupConfig = DedupConfig()
    examples: ExamplesConfig = ExamplesConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    mix: MixConfig = MixConfig()
    split: SplitConfig = SplitConfig()
    train_tokenizer: TokenizerConfig = Field(default=TrainedTokenizer(), discriminator="kind")
    tokenize: TokenizeConfig = TokenizeConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    sft: SftConfig = SftConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    align: AlignConfig = AlignConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    registry: RegisterConfig = Field(default=RegisterConfig(), alias="register")
    promote: PromoteConfig = PromoteConfig()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.model.start.kind == "open" and self.train_tokenizer.kind != "existing":
            raise ValueError(
                "model.start is an open model, so the tokenizer must be that model's own: set "
                "train_tokenizer: {kind: existing, path: …} to its folder"
            )
        if self.mix.weights:
            raise ValueError(
                "mix.weights is filled in by the pipeline; give each source a weight: ingest.sources[].weight"
            )
        _ = self.decontamination  # raises where two sets of items have one name
        return self

    @property
    def mixture(self) -> MixConfig:
        """`mix` with the weights that the sources state: a weight is written once, beside its source."""
        return self.mix.model_copy(update={"weights": {source.name: source.weight for source in self.ingest.sources}})

    @property
    def decontamination(self) -> DecontaminateConfig:
        """`decontaminate` with the item files of `evaluate`: whatever is asked is kept out of the training text."""
        asked = [
            ItemFile(path=benchmark.data.path, name=benchmark.name)
            for benchmark in self.evaluate.benchmarks
            if isinstance(benchmark.data, JsonlItems)
        ]
        return self.decontaminate.with_benchmarks(asked)
