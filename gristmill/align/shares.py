"""Which share of which file a configuration holds out."""

from collections.abc import Iterator
from pathlib import Path

from gristmill.align.config import TrainingConfig
from gristmill.align.online.prompts_config import AskingConfig, JsonlPrompts
from gristmill.align.rows_config import FileRows, MixedRows


def held_out_shares(**stages: TrainingConfig | AskingConfig | None) -> Iterator[tuple[str, Path, float]]:
    """(stage, file or glob, share) of all rows and prompts that come from files, stage by stage."""
    for stage, config in stages.items():
        if isinstance(config, AskingConfig) and isinstance(config.prompts, JsonlPrompts):
            yield f"{stage}.prompts", config.prompts.path, config.prompts.held_out
        elif isinstance(config, TrainingConfig):
            mixed = config.data.tasks.values() if isinstance(config.data, MixedRows) else []
            for rows in [config.data, *(task.rows for task in mixed)]:
                if isinstance(rows, FileRows):
                    yield from ((f"{stage}.data", Path(path), rows.held_out) for path in rows.paths)
