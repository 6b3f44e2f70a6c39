"""What can go wrong with a day, told apart by whether waiting helps."""


class PipelineError(Exception):
    """The day cannot be processed as it was delivered or as the code stands: a retry would fail the same way."""


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
