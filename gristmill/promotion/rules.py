"""Rules that no model could pass, because of what `evaluate` asks: known before anything is built."""

from gristmill.evaluate.config import EvaluateConfig
from gristmill.evaluate.harness_config import HarnessBenchmark, HubBenchmark
from gristmill.promotion.config import AtLeast, AtMost, BetterThanBaseline, PromoteConfig


def check_rules(promote: PromoteConfig, evaluate: EvaluateConfig) -> None:
    """Raises ValueError where a rule compares answers to a benchmark that is not asked, or that allows no comparison.

    Numbers that `at_least` and `at_most` name are not checked: which ones there are is known when they are measured.
    """
    asked = {benchmark.name: benchmark for benchmark in evaluate.benchmarks}
    for rule in promote.rules:
        if isinstance(rule, AtLeast | AtMost):
            continue
        benchmark, where = asked.get(rule.benchmark), f"promote.rules: {rule.rule} is about {rule.benchmark!r}"
        if benchmark is None:
            raise ValueError(
                f"{where}, but evaluate.benchmarks asks {', '.join(asked) or 'none'}; ask it too, or write rules about "
                "what is asked (docs/promotion.md)"
            )
        if isinstance(benchmark, HubBenchmark):
            raise ValueError(
                f"{where}, whose items of the hub decontamination does not see, so that no comparison counts; write a "
                f"rule about a local file, or at_least on {rule.benchmark}_accuracy"
            )
        chosen = not isinstance(benchmark, HarnessBenchmark) or benchmark.output_type == "multiple_choice"
        if isinstance(rule, BetterThanBaseline) and not chosen:
            raise ValueError(
                f"{where}, which has no choices, so that no baseline answers it; write better_than_champion, or "
                f"at_least on {rule.benchmark}_accuracy"
            )
