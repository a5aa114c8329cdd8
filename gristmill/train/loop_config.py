"""What stands around the steps of pretraining: guards, an early end, a last phase on other text."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from gristmill.schema import Schema


class GuardsConfig(Schema):
    """A loss that is not finite or spikes: its step is left out; after too many the weights go back; then it ends."""

    spike_z: PositiveFloat | None = 10.0
    """Robust deviations above the median of the window from which on a loss is a spike; null: only a loss or gradient
    that is not finite counts."""
    window_steps: PositiveInt = 128
    """Steps that are looked back on, for the median and for how often steps were left out."""
    max_rollbacks: NonNegativeInt = 2
    """Times that the weights may go back to the last anchor; the run stops at the next spike and names its rows."""
    anchor_every_steps: PositiveInt = 250
    """Steps between anchors: checkpoints to go back to. The rows between an anchor and the spike are left out."""


class EarlyStopConfig(Schema):
    """End when validation stops improving; the result is the best checkpoint."""

    patience: PositiveInt = 3
    """Measurements of validation in a row without a gain after which the run ends."""
    min_delta: NonNegativeFloat = 0.001
    """Bits per byte by which the best so far must be beaten to count as a gain."""


class AnnealConfig(Schema):
    """Spend the last steps on other token shards: a better mix while the learning rate falls (arXiv:2404.06395)."""

    artifact: Annotated[str, Field(pattern=r"^tokens/tokenize-[0-9a-f]{12}$")]
    """Address of the shards, such as `tokens/tokenize-60d09ddec826`, made with this run's tokenizer and seq_len."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of all steps, at the end, that read these shards; null: the steps of the schedule's decay."""
