"""Answers of a read replica, as long as it has what the primary has; what it can not say yet, the primary says.

A standby grants no leases, and does not know how far behind it is. So the primary says which version of the published
lists is the current one (a lease, as for what is in memory), and an answer of the replica counts if it was made of that
version, which it says in the same snapshot. While the primary is away the last version that it named stands: what the
replica says of another one, older or newer, is not given.
"""

import logging
from math import inf
from time import monotonic
from typing import Any

import psycopg2
from prometheus_client import Counter

from api.database import Database, Row, TooSlow, Unavailable
from api.memory import Memory
from api.settings import Settings
from api.trouble import Trouble

PAUSE = 1.0
"""Seconds between two tries of a replica that is away; meanwhile the primary is asked."""

LONG = 60.0
"""Seconds that it may be behind, each time it is asked, before the log says so."""

NO_ANSWER = "no answer of the replica, the primary is asked"
BEHIND_FOR_LONG = (
    "the replica has been behind each time it was asked for %.0f s, the primary is asked: it does not follow, or "
    "REPLICA_URL leads to no replica of what DATABASE_URL leads to"
)
"""Told apart in the log."""

log = logging.getLogger("uvicorn.error")

QUERIES = Counter("replica_queries", "What the replica was asked, and what came of it", ["outcome"])
ANSWERED, BEHIND, AWAY = map(QUERIES.labels, ("answered", "behind", "away"))


class WithReplica(Database):
    """The primary, as Database has it, before which the replica is asked. `memory` is to be set: it knows the version.

    It may be several replicas behind one name. One that is too busy is not helped by the primary, which has a quarter
    of its connections.
    """

    memory: Memory

    def __init__(self, settings: Settings) -> None:
        """Opens nothing yet."""
        super().__init__(settings)
        self._replica = Database(settings, replica=True)
        self._away, self._ask_again = False, 0.0
        self._no_answers = Trouble("REPLICA_URL")
        self._behind_since, self._told = inf, False

    async def fetch_all(self, query: str, **params: Any) -> list[Row]:
        """As Database has it. What is answered was the current state at some moment since it was asked for, or, with
        the primary away, that of the last version known."""
        rows = await self._of_replica(query, params)
        return await super().fetch_all(query, **params) if rows is None else rows

    def close(self) -> None:
        """Closes what is free."""
        super().close()
        self._replica.close()

    async def _of_replica(self, query: str, params: dict[str, Any]) -> list[Row] | None:
        """None where it can not say. Raises TooSlow."""
        if self._away:
            if monotonic() < self._ask_again:
                return None
            # One tries, for all.
            self._ask_again = inf
        try:
            await self.memory.settled()
            if (version := self.memory.version) is None:
                # It has just been started, and the primary is away.
                ((version,),) = await self._replica.fetch_all("version")
                self.memory.begin(version)
            rows = await self._replica.fetch_all_at(version, query, **params)
        except Unavailable as error:
            if isinstance(error, TooSlow) and not self._away:
                raise
            self._away = True
            AWAY.inc()
            # Without a connection there is no code, and the replica's pool has said it.
            if isinstance(error.__cause__, psycopg2.Error) and error.__cause__.pgcode:
                self._no_answers.failed(NO_ANSWER, error.__cause__)
            return None
        finally:
            self._ask_again = monotonic() + PAUSE
        self._away = False
        self._no_answers.over(NO_ANSWER)
        (BEHIND if rows is None else ANSWERED).inc()
        self._tell_if_behind(rows is None)
        return rows

    def _tell_if_behind(self, is_behind: bool) -> None:
        now = monotonic()
        if not is_behind:
            if self._told:
                log.info("no longer: the replica is behind")
            self._behind_since, self._told = inf, False
            return
        self._behind_since = min(self._behind_since, now)
        if not self._told and now - self._behind_since >= LONG:
            self._told = True
            log.warning(BEHIND_FOR_LONG, now - self._behind_since)
