"""Errors that speak to the user; the front desk prints them without a traceback."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message is meant for the person who wrote it."""


class SourceUnavailable(RuntimeError):
    """A source could not be looked at (missing path, no network): the plan is blocked, never guessed."""


class NotHere(SourceUnavailable):
    """An artifact this store lacks, a file that is not there, a key nobody has set, a server that refuses: it stays so
    until a person changes it, so no retry helps."""


class StoreUnavailable(RuntimeError):
    """The remote artifact store does not answer, or does not let us in."""
