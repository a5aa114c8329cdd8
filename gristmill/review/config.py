"""Which judgements of people become preference pairs."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt

from gristmill.errors import NotHere
from gristmill.schema import StageConfig

if TYPE_CHECKING:
    from gristmill.review.folder import Review


class PreferencesConfig(StageConfig):
    """People's judgements in place of the pairs that `examples` makes, for `reward_model` and `align`."""

    kind: Literal["people"] = "people"
    reviews: Annotated[list[Annotated[Path, AfterValidator(Path.absolute)]], Field(min_length=1)]
    """Review folders (`gristmill review make`); a relative path counts from where the command is started."""
    min_pairs: PositiveInt = 3
    """The run stops before this stage while there are fewer pairs, and goes on when they are there."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the judged prompts that never train, at least two; the prompt decides."""
    made_pairs: bool = False
    """The pairs of `examples` train too, beside those of people."""

    @cached_property
    def read(self) -> "list[Review]":
        """The reviews, read once: people go on judging between the making of the key and the use of the log."""
        from gristmill.review.folder import read_review

        return [read_review(folder) for folder in self.reviews]

    def identity(self) -> dict[str, Any]:
        """What was judged in place of the paths. Raises NotHere while there are too few pairs."""
        from gristmill.review.preferences import judged_rows

        pairs = sum(len(judged_rows(review).pairs) for review in self.read)
        if pairs < self.min_pairs:
            raise NotHere(
                f"waits for people: {pairs} of {self.min_pairs} preference pairs are judged; go on with `gristmill "
                f"review {self.reviews[0]}`, or lower preferences.min_pairs"
            )
        decisive = self.model_dump(mode="json", exclude={"kind", "min_pairs"})
        return {**decisive, "reviews": [review.digest for review in self.read]}
