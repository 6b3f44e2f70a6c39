"""How long each step took is kept by day, for who asks what a night spends its time on."""

from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import DAY, MODELS, Night

pytestmark = pytest.mark.usefixtures("nobody_reads")


def times(night: Night) -> dict[str, Any]:
    query = "SELECT step, began_at, ended_at, seconds FROM marts.step_times WHERE date = %s"
    return {step: times for step, *times in night.warehouse.rows(query, DAY, role="recommendations_analyst")}


def test_every_step_says_when_it_began_and_ended(delivered: Night) -> None:
    begun = datetime.now(UTC)
    delivered.run()
    ended = datetime.now(UTC)
    first = times(delivered)
    assert sorted(first) == sorted(["FiltrarDatos", "DBWriting", *MODELS])
    # The models one after the other, between the two.
    moments = [begun, *first["FiltrarDatos"][:2], *(m for model in MODELS for m in first[model][:2])]
    moments += [*first["DBWriting"][:2], ended]
    assert moments == sorted(moments)
    assert all(seconds == (ended - began).total_seconds() > 0 for began, ended, seconds in first.values())

    delivered.run()
    again = times(delivered)
    assert again["FiltrarDatos"] == first["FiltrarDatos"], "it found the day loaded already"
    assert all(again[step][0] > first["DBWriting"][1] for step in ["DBWriting", *MODELS])


def test_a_step_that_fails_leaves_the_times_that_there_were(delivered: Night) -> None:
    delivered.run()
    before = times(delivered)
    delivered.put("ads_views", delivered.object("ads_views") + b"unreadable\n" * 999)
    with pytest.raises(Exception, match="rejected_share"):
        delivered.load()
    assert times(delivered) == before
