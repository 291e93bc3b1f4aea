"""The exceptions that users are meant to see."""


class PgvError(Exception):
    """A sentence to a colleague: subject, both values, remedy.

    The command line prints it without a traceback and exits with status 2.
    """


class DamagedFileError(PgvError):
    """A file does not hold what was written to it."""
