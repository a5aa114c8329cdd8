"""From an evaluated model to the registry, and through the gate."""

from flows.data import Grist
from flows.train import Flour
from gristmill.artifacts import Promotion
from gristmill.config import PipelineConfig
from tasks.evaluate import evaluate
from tasks.promote import promote as judge
from tasks.register import register
from tasks.registry import champion_before
from tasks.stage import checkpoint_at


def promote(config: PipelineConfig, grist: Grist, flour: Flour) -> Promotion:
    """Register the model, score the champion on the same items, and let the gate decide."""
    registration = register(model=flour.model, evaluation=flour.evaluation, config=config.registration)
    over = champion_before(config.registry.model, flour.model.address)
    champion = None
    if over:
        champion = evaluate["champion"](
            model=checkpoint_at(over),
            tokens=grist.tokens,
            examples=grist.examples,
            decontaminated=grist.decontaminated,
            parent=None,
            config=config.evaluate,
        )
    return judge(
        registration=registration, evaluation=flour.evaluation, champion=champion, over=over, config=config.promote
    )
