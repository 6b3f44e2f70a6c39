"""What can go wrong with a day, told apart by whether waiting helps."""

from collections.abc import Sequence

import psycopg2
from botocore.exceptions import BotoCoreError, ClientError


class PipelineError(Exception):
    """The day cannot be processed as it was delivered or as the code stands: a retry would fail the same way."""


class Broken(PipelineError):
    """An audit has found what breaks its promise."""


class NotYet(PipelineError):
    """Something is not there yet, or went away for a moment: a later retry may succeed."""


class Incomplete(NotYet):
    """What has arrived of the day, whole as it is, looks like a part of it: nothing but further objects cures that."""


class Overtaken(NotYet):
    """Another run has the day: what becomes of it is that run's."""


class Locked(NotYet):
    """Somebody did not let go of a lock for too long; that is nobody who does the same work."""


class Withdrawn(PipelineError):
    """An operator took the day back from readers: a new run of it, or `restore`, publishes it again; nothing else."""


FAILURES = (PipelineError, psycopg2.Error, BotoCoreError, ClientError, OSError, ValueError)
"""What ends a day, and not the days after it; the last two are smart_open's, of S3 that is away."""


def together(said: str, errors: Sequence[Exception]) -> PipelineError:
    """One error for all: NotYet when waiting may cure every one. A retry would not meet again what is told once."""
    for_good = [error for error in errors if isinstance(error, PipelineError) and not isinstance(error, NotYet)]
    return PipelineError(said) if for_good else NotYet(said)
