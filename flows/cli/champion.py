"""Which checkpoint a command means: the one named, or the champion of a registered model."""

from flows.cli import workspace
from flows.cli.scope import address_of, use_own_servers


def checkpoint(address: str | None, name: str) -> str:
    """Address of a whole checkpoint in the store; of `name`'s champion when None. Raises ValueError without one."""
    address = address or _champion(name)
    kind = workspace.store().load(address).recipe.kind
    if kind != "checkpoint":
        raise ValueError(f"{address} is of the kind {kind}; name a checkpoint (`gristmill artifacts list`)")
    return address


def _champion(name: str) -> str:
    from tasks.registry import version_by_alias

    use_own_servers()
    champion = version_by_alias(name, "champion")
    if champion is None:
        raise ValueError(
            f"{name} has no champion yet; name a checkpoint (`gristmill artifacts list`) or run the pipeline"
        )
    return address_of(champion, f"{name}@champion", "artifact")
