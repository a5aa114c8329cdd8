"""The whole pipeline's configuration: one section a stage, facts that several stages share stated once."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gristmill.ablation.config import AblationConfig, TextBitsConfig
from gristmill.addresses import has_credentials
from gristmill.align.config import AlignConfig, DpoConfig, PreferenceConfig, RewardModelConfig, SftConfig
from gristmill.align.online.config import OnlineConfig
from gristmill.align.online.prompts_config import JsonlPrompts
from gristmill.align.shares import held_out_shares
from gristmill.crawl.config import IngestConfig
from gristmill.crawl.nights_config import NightsConfig
from gristmill.dedup.config import DedupConfig, KnownConfig, SignaturesConfig
from gristmill.dedup.decontaminate_config import DecontaminateConfig, ItemFile
from gristmill.evaluate.config import EvaluateConfig
from gristmill.evaluate.harness_config import HubBenchmark, LocalItems
from gristmill.examples.config import ExamplesConfig
from gristmill.filters.config import FilterConfig, SignalsConfig
from gristmill.filters.opt_out import OptOutConfig
from gristmill.judge.config import ConstitutionConfig, FeedbackConfig
from gristmill.ledger.config import PricesConfig
from gristmill.model.config import ModelConfig
from gristmill.model.open_models_config import LicensesConfig, OpenModelConfig
from gristmill.promotion.config import PromoteConfig
from gristmill.promotion.rules import check_rules
from gristmill.review.config import PreferencesConfig
from gristmill.scaling.config import ScalingConfig
from gristmill.scaling.ladder import Rung, ladder
from gristmill.schema import Resources, Schema
from gristmill.serve.config import RegisterConfig
from gristmill.synthesize.config import SynthesizeConfig
from gristmill.test_time.config import TestTimeConfig
from gristmill.text.config import ExtractConfig, SplitConfig
from gristmill.tokens.config import (
    ExistingTokenizer,
    ExtendedTokenizer,
    TokenizeConfig,
    TokenizerConfig,
    TrainedTokenizer,
)
from gristmill.tokens.mix_config import MixConfig
from gristmill.tokens.vocab_size import optimal_vocab_size
from gristmill.train.config import PretrainConfig


class PipelineConfig(Schema):
    """What `gristmill run` computes (one section a stage) and how (`resources` and `prices`, never part of a key)."""

    ingest: IngestConfig
    nights: NightsConfig | None = None
    extract: ExtractConfig = ExtractConfig()
    signals: SignalsConfig = SignalsConfig()
    filter: FilterConfig = FilterConfig()
    signatures: SignaturesConfig = SignaturesConfig()
    dedup: DedupConfig = DedupConfig()
    known: KnownConfig = KnownConfig()
    examples: ExamplesConfig = ExamplesConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    mix: MixConfig = MixConfig()
    split: SplitConfig = SplitConfig()
    train_tokenizer: TokenizerConfig = Field(default=TrainedTokenizer(), discriminator="kind")
    tokenize: TokenizeConfig = TokenizeConfig()
    model: ModelConfig = ModelConfig()
    licenses: LicensesConfig = LicensesConfig()
    pretrain: PretrainConfig = PretrainConfig()
    synthesize: SynthesizeConfig | None = None
    sft: SftConfig = SftConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    preferences: PreferencesConfig | FeedbackConfig | ConstitutionConfig | None = Field(
        default=None, discriminator="kind"
    )
    align: AlignConfig = Field(default=DpoConfig(), discriminator="algorithm")
    evaluate: EvaluateConfig = EvaluateConfig()
    test_time: TestTimeConfig | None = None
    registry: RegisterConfig = Field(default=RegisterConfig(), alias="register")
    promote: PromoteConfig = PromoteConfig()
    scaling: ScalingConfig = ScalingConfig()
    text_bits: TextBitsConfig = TextBitsConfig()
    ablation: AblationConfig = AblationConfig()
    leave_out: list[Literal["filter", "dedup"]] = []
    """Stages that documents skip, so that what they are worth can be measured: `gristmill run ablation`."""
    resources: Resources = Resources()
    prices: PricesConfig = PricesConfig()

    @model_validator(mode="before")
    @classmethod
    def _holds_no_password(cls, values: Any) -> Any:
        """A configuration is shown by Prefect and MLflow and lies in every record."""
        if place := _password_in(values, ""):
            raise ValueError(
                f"{place}: a URL with a user or password in it; take it out, and put it into ~/.netrc or what the "
                "store's own library reads (AWS_SECRET_ACCESS_KEY, …)"
            )
        return values

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.model.start.kind == "open" and self.train_tokenizer.kind == "bpe":
            raise ValueError(
                "model.start is an open model, so the tokenizer must be that model's own: set "
                "train_tokenizer: {kind: existing}, or {kind: extend, scripts: […]} to add tokens"
            )
        if self.takes_tokenizer_of_start and self.model.start.kind == "scratch":
            raise ValueError(
                f"train_tokenizer of kind {self.train_tokenizer.kind} has no path, so it is that of the model in "
                "model.start, but that is scratch; name the tokenizer's folder, or a model to start from"
            )
        if self.pretrain.kl_to_start and self.model.start.kind == "scratch":
            raise ValueError(
                "pretrain.kl_to_start holds on to the model in model.start, but that is scratch; set it to 0"
            )
        for name in ("sft", "reward_model", "align"):
            adapter = getattr(getattr(self, name), "adapter", None)
            if adapter and not adapter.merge:
                raise ValueError(
                    f"{name}.adapter.merge=false writes an adapter alone, and the stages after {name} need a whole "
                    "model; leave merge at true, which writes both (docs/alignment.md)"
                )
        self.signatures.check_threshold(self.dedup.threshold)
        trained = self.train_tokenizer
        if trained.kind == "bpe" and trained.vocab_size == "auto" and self.model.start.kind != "scratch":
            raise ValueError(
                "train_tokenizer.vocab_size=auto follows from the shape of a new model, but model.start is an existing "
                "one; keep its vocabulary with train_tokenizer: {kind: artifact, artifact: …}"
            )
        if self.registry.licenses is not None:
            raise ValueError("register.licenses is filled in by the pipeline; set licenses")
        if self.mix.source_weights:
            raise ValueError(
                "mix.source_weights is filled in by the pipeline; give each source a weight: ingest.sources[].weight"
            )
        if self.nights and (self.leave_out or self.dedup.against):
            raise ValueError(
                "nights deduplicates every night against all earlier ones, so dedup.against must be empty and nothing "
                "may be in leave_out"
            )
        if self.nights and self.dedup.earlier == "by_rule":
            raise ValueError(
                "dedup.earlier=by_rule lists earlier pages that lose, but the corpus of nights keeps the documents of "
                "every night as they are, so it would hold both; with nights leave dedup.earlier at wins"
            )
        self._check_what_is_made_is_read()
        self._check_prompts_stay_held_out()
        _ = self.decontamination  # raises where two sets of items have one name
        return self

    @property
    def registration(self) -> RegisterConfig:
        """`register` with the licences that are allowed."""
        return self.registry.model_copy(update={"licenses": self.licenses})

    def _check_what_is_made_is_read(self) -> None:
        if self.synthesize and self.sft.task == "chat" and self.sft.has_own_rows:
            raise ValueError(
                f"synthesize writes rows behind those of `examples`, but sft.data.kind={self.sft.data.kind} reads "
                "others, so nothing would learn from them; remove synthesize, or let sft.data be {kind: examples}"
            )
        scored = any(self.reward_models) and not self.reward_model.has_own_rows
        preferred = isinstance(self.align, PreferenceConfig) and not self.align.has_own_rows
        if self.preferences and not (scored or preferred):
            raise ValueError(
                "preferences makes pairs, but neither reward_model nor align would read them: remove preferences, or "
                "let reward_model.data or align.data be {kind: examples}"
            )

    def _check_prompts_stay_held_out(self) -> None:
        """What one stage measures with, no other one trains on: a file is divided alike wherever it is read."""
        seen: dict[Path, tuple[str, float]] = {}
        for stage, path, share in held_out_shares(
            sft=self.sft, reward_model=self.reward_model, align=self.align, test_time=self.test_time
        ):
            first, before = seen.setdefault(path, (stage, share))
            if share != before:
                raise ValueError(
                    f"{first} holds out {before:g} of {path} and {stage} {share:g}, so one trains on what the other "
                    "measures with; write the same `held_out` in both"
                )
        asked, trained = self.test_time, self.align
        if asked is None or not isinstance(trained, OnlineConfig):
            return
        one, other = asked.prompts, trained.prompts
        if not (isinstance(one, JsonlPrompts) and isinstance(other, JsonlPrompts)):
            return
        if one.path == other.path and one.prompt != other.prompt:
            raise ValueError(
                f"test_time and align read {one.path} with other `prompt`, so test_time would ask what align trained "
                "on; write both alike"
            )

    @property
    def tokenizer(self) -> TokenizerConfig:
        """`train_tokenizer` with what follows from the model: a number for `vocab_size: auto`, a mask token."""
        trained = self.train_tokenizer
        if not isinstance(trained, TrainedTokenizer):
            return trained
        sized = optimal_vocab_size(self.model.shape) if trained.vocab_size == "auto" else trained.vocab_size
        return trained.model_copy(
            update={"vocab_size": sized, "mask_token": trained.mask_token or self.model.is_masked}
        )

    @property
    def takes_tokenizer_of_start(self) -> bool:
        """Whether `train_tokenizer` is that of the model in `model.start`, or extends it."""
        tokenizer = self.train_tokenizer
        return isinstance(tokenizer, ExistingTokenizer | ExtendedTokenizer) and tokenizer.path is None

    @property
    def open_model(self) -> OpenModelConfig | None:
        """The open model that `model.start` names, if it names one."""
        start = self.model.start
        return OpenModelConfig(source=start, licenses=self.licenses) if start.kind == "open" else None

    @property
    def ladder(self) -> list[Rung]:
        """The trainings of the flow `scaling`. Raises ValueError where they do not follow from the configuration."""
        self._refuse_masked("scaling")
        if self.model.start.kind != "scratch":
            raise ValueError("scaling: a ladder trains new models of several sizes; set model.start: {kind: scratch}")
        if not isinstance(self.tokenizer, TrainedTokenizer) or not isinstance(self.tokenizer.vocab_size, int):
            raise ValueError(
                "scaling: tokens follow from parameters, and these from the vocabulary's size, which is known "
                "beforehand for train_tokenizer: {kind: bpe} only; use that"
            )
        return ladder(
            self.scaling,
            model=self.model,
            pretrain=self.pretrain,
            vocab_size=self.tokenizer.vocab_size,
            seq_len=self.tokenize.seq_len,
        )

    @property
    def recipes(self) -> "dict[str, PipelineConfig]":
        """The data recipes of `ablation`, each a whole configuration. Raises ValueError where one does not fit."""
        self._refuse_masked("ablation")
        if self.nights:
            raise ValueError("ablation compares recipes on one crawl; set nights: null and name its sources in ingest")
        return {name: self._with(changes) for name, changes in self.ablation.recipes.items()}

    def _refuse_masked(self, flow: str) -> None:
        if self.model.is_masked:
            raise ValueError(
                f"{flow} compares bits per byte, and a masked language model (model.family: bert) has none: it gives "
                "probabilities to the masked tokens alone; choose a model that predicts the next one, such as qwen3"
            )

    def with_seed(self, seed: int) -> "PipelineConfig":
        """The same with another seed of pretraining."""
        return self._with({"pretrain": {"seed": seed}})

    def _with(self, changes: dict[str, Any]) -> "PipelineConfig":
        sections = {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
        for name, change in changes.items():
            section = sections[name]
            if isinstance(section, Schema):
                change = type(section).model_validate(_merged(section.model_dump(), change))
            sections[name] = change
        return PipelineConfig(**sections)

    @property
    def asks_reward_model(self) -> bool:
        """Whether any answer is scored: as a reward, before and after `align`, or to choose one of several."""
        chooses = self.test_time is not None and "reward_model" in self.test_time.choose
        return chooses or self.align.asks_reward_model

    @property
    def reward_models(self) -> tuple[RewardModelConfig | None, RewardModelConfig | None]:
        """The one that scores, where any is asked, and the one that judges; with two, each has a half of the pairs."""
        scores, judges = self.asks_reward_model, isinstance(self.align, OnlineConfig) and self.align.asks_judge_model
        first, second = (
            self.reward_model.model_copy(update={"half": half if scores and judges else self.reward_model.half})
            for half in (0, 1)
        )
        return first if scores else None, second if judges else None

    @property
    def mixture(self) -> MixConfig:
        """`mix` with the weights that the sources state: a weight is written once, beside its source.

        With `nights` also with the filter's opt-out lists: earlier nights were filtered before an entry was added.
        """
        weights = {source.name: source.weight for source in self.ingest.sources if source.weight is not None}
        lists = [*self.mix.opt_out.lists, *(self.filter.opt_out.lists if self.nights else [])]
        opt_out = OptOutConfig(lists=list(dict.fromkeys(lists)))
        return self.mix.model_copy(update={"source_weights": weights, "opt_out": opt_out})

    @property
    def decontamination(self) -> DecontaminateConfig:
        """`decontaminate` with the item files of `evaluate`: whatever is asked is kept out of the training text."""
        asked = [
            ItemFile(path=benchmark.data.path, name=benchmark.name)
            for benchmark in self.evaluate.benchmarks
            if not isinstance(benchmark, HubBenchmark) and isinstance(benchmark.data, LocalItems)
        ]
        return self.decontaminate.with_benchmarks(asked)

    def check_promotion(self) -> None:
        """Raises ValueError for a rule of `promote` that no model could pass, because of what `evaluate` asks."""
        check_rules(self.promote, self.evaluate)

    def kept_out_of(self, stage: Literal["sft", "reward_model", "align"]) -> DecontaminateConfig | None:
        """The benchmark items that no row of this stage may hold; None where the stage `examples` made all rows, which
        knows its own held-out items. `synthesize` looks for them itself."""
        asked = self.preferences is not None and stage != "sft"
        return self.decontamination if asked or getattr(self, stage).has_own_rows else None


def _password_in(value: Any, place: str) -> str | None:
    """Where a URL has a user or a password, as `ingest.sources.0.paths.0`."""
    if isinstance(value, str):
        return place if has_credentials(value) else None
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = (_password_in(part, f"{place}.{name}".lstrip(".")) for name, part in parts)
    return next((each for each in found if each), None)


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries with some values replaced; lists are replaced whole."""
    merged = dict(values)
    for key, change in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, change) if isinstance(old, dict) and isinstance(change, dict) else change
    return merged
