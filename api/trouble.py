"""Why the warehouse can not be asked: a line in the log for each change of the cause, a count of all, no secrets.

libpq's own words may name parts of a DATABASE_URL that was written wrongly, the password among them. So what it says of
addresses is not repeated; what the server said is.
"""

import logging
import re

import psycopg2
from prometheus_client import Counter

FAILED = Counter("warehouse_failures", "Connections and leases that could not be had", ["cause"])

CAUSES = {
    "pooler": r"the pooler before the warehouse",
    "password": r"password authentication failed|no password supplied|authentication failed for user",
    "access": r"no pg_hba\.conf entry|not permitted to log in|role .* does not exist|permission denied for database",
    "database": r"database .* does not exist|not currently accepting connections",
    "full": r"too many (clients|connections)|remaining connection slots",
    "parameter": r"startup parameter|configuration parameter|for parameter|to set parameter",
    "starting": r"starting up|shutting down|not yet accepting|recovery mode",
    "certificate": r"certificate|SSL",
    "host": r"translate host name|resolve|No route to host|Network is unreachable",
    "refused": r"Connection refused",
}
"""What libpq and the server say when no connection can be made, by cause; the first that fits. In another language than
English it is `other`: a connection that could not be made has no SQLSTATE."""

MEANS = {
    "pooler": "it is in transaction mode: sessions do not keep their server. Session mode works, and so does no pooler",
    "url": "DATABASE_URL is no libpq URI: postgresql://USER:PASSWORD@HOST/DATABASE, with %25 for % and %40 for @",
    "certificate": "the server's certificate does not convince, or there is none: see sslmode and sslrootcert",
    "host": "the name of the host in DATABASE_URL leads nowhere",
    "refused": "nobody listens on the host and port in DATABASE_URL",
    "hangs": "it does not answer",
    "other": "psql with the same DATABASE_URL says more",
}
"""Said where the server has said nothing, or nothing that may be repeated."""

log = logging.getLogger("uvicorn.error")


class Trouble:
    """What is wrong at the moment: the cause of everything that can not be had."""

    def __init__(self, setting: str) -> None:
        """`setting`: the one whose URL leads to the warehouse."""
        self._setting = setting
        self._causes: dict[str, str] = {}

    def failed(self, what: str, error: Exception) -> None:
        """Counts it, if it is of the warehouse, and logs it when it did not fail before, or for another cause."""
        cause = cause_of(error)
        if self._setting == "DATABASE_URL":
            # What the replica can not say is counted by replica_queries_total: the warehouse is there.
            FAILED.labels(cause).inc()
        if self._causes.get(what) != cause:
            self._causes[what] = cause
            means = MEANS.get(cause, "").replace("DATABASE_URL", self._setting)
            log.warning("%s (%s): %s", what, cause, _said(error) or means)

    def over(self, what: str) -> None:
        """Logs that it went well, if it did not before."""
        if self._causes.pop(what, None):
            log.info("no longer: %s", what)


def cause_of(error: Exception) -> str:
    """In one word, from a small set: a label of the metric."""
    match error:
        case TimeoutError():
            return "hangs"
        case UnicodeError():
            return "url"
        case psycopg2.errors.QueryCanceled():
            return "slow"
        case psycopg2.ProgrammingError():
            return "query" if error.pgcode else "url"
    said = str(error)
    return next((cause for cause, pattern in CAUSES.items() if re.search(pattern, said)), "other")


def _said(error: Exception) -> str:
    """By the server: the rest of the line after its severity."""
    if isinstance(error, psycopg2.Error) and error.diag.message_primary:
        return error.diag.message_primary
    found = re.search(r"(?:FATAL|ERROR): +(.*)", str(error))
    return found[1] if found else ""
