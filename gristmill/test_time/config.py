"""What is asked, how an answer is known to be right, and what a model may spend before it answers."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gristmill.align.online.config import CodeReward, ConstraintsReward, ExactReward, NumberReward
from gristmill.align.online.prompts_config import AskingConfig
from gristmill.program import Run
from gristmill.schema import Schema

Right = Annotated[NumberReward | ExactReward | ConstraintsReward | CodeReward, Field(discriminator="kind")]
"""Rewards that are 1 for a right answer and less for any other."""


class ThinkingConfig(Schema):
    """Budget forcing (Muennighoff et al. 2025, arXiv:2501.19393): think for so many tokens, then say the answer."""

    budgets: list[PositiveInt] = [16, 32, 64]
    """Most tokens of a thought. No thought at all is measured beside them."""
    answer_after: str = "\nThe answer is"
    """Put behind the thought, wherever that ended; the answer goes on from it."""


class TestTimeConfig(AskingConfig):
    """Several answers to each held-out prompt, and how often the chosen one is right."""

    __test__ = False  # it is no test, whatever pytest makes of its name

    right: Right = NumberReward()
    """When an answer is right."""
    samples: list[PositiveInt] = [1, 2, 4, 8, 16]
    """Numbers of answers to choose from; the largest is how many are sampled of each prompt."""
    choose: list[Literal["majority", "reward_model"]] = ["majority", "reward_model"]
    """`majority`: the answer given most often (Wang et al. 2022, arXiv:2203.11171). `reward_model`: the one that the
    stage `reward_model` scores highest. How often any is right (pass@k) is reported in any case."""
    temperature: PositiveFloat = 0.8
    """Of the sampling."""
    thinking: ThinkingConfig | None = None
    """Measure budgets for thinking too; null: do not."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if sorted(set(self.samples)) != self.samples or self.samples[0] != 1:
            raise ValueError(f"samples={self.samples} must start with 1 and rise: all others are compared with one")
        if "majority" in self.choose and not isinstance(self.right, NumberReward | ExactReward):
            raise ValueError(
                f"choose names majority, and right is of kind {self.right.kind}: answers that may all differ have no "
                "majority; choose by reward_model, or let right be of kind number or exact"
            )
        return self


class TestTimeRun(Run):
    """`run.yaml` of `python -m gristmill.test_time.run`."""

    __test__ = False

    model: Path
    """Folder of the model that answers."""
    examples: Path | None = None
    """Folder of the examples artifact, where `config.prompts` asks for it."""
    reward_model: Path | None = None
    """Folder of the reward model, where `config.choose` asks for it."""
    config: TestTimeConfig
    """What is computed."""
