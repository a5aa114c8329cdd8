"""Errors that speak to the user; the front desk prints them without a traceback."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message is meant for the person who wrote it."""


class SourceUnavailable(RuntimeError):
    """A source could not be looked at (missing path, no network): the plan is blocked, never guessed."""


class StoreUnavailable(RuntimeError):
    """The remote artifact store does not answer, or does not let us in."""
