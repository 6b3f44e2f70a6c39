"""What every audit found is kept by day: for "how often does it nearly fail?"."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import DAY, Night, ordinary_logs

from elt import sql
from elt.errors import NotYet, PipelineError

pytestmark = [pytest.mark.usefixtures("nobody_reads"), pytest.mark.model_blind]

FOUND = "SELECT kind, audit, broken_rows, first_row, run_id FROM marts.audit_results WHERE date = %s ORDER BY 1, 2"


def found(night: Night, day: str = DAY) -> list[tuple[Any, ...]]:
    return night.warehouse.rows(FOUND, day, role="recommendations_analyst")


def passes(*kinds: str) -> list[tuple[Any, ...]]:
    return [(kind, name.rpartition("/")[2], 0, None, "test") for kind in kinds for name in sql.audits(kind)]


def test_passes_are_kept_with_what_they_let_through(delivered: Night) -> None:
    delivered.run()
    assert found(delivered) == passes("arrival", "load", "publication")
    delivered.run()
    assert found(delivered) == sorted(passes("arrival", "load", "publication") + passes("publication")), (
        "an attempt each"
    )


def test_a_break_outlives_the_transaction_that_it_rolled_back(delivered: Night) -> None:
    delivered.put("ads_views", delivered.object("ads_views") + b"unreadable\n" * 999)
    with pytest.raises(PipelineError, match="rejected_share"):
        delivered.load()
    assert delivered.warehouse.rows("TABLE staging.loads") == []
    rows = {audit: (broken, first) for _, audit, broken, first, _ in found(delivered)}
    broken, first = rows.pop("rejected_share")
    assert broken == 1
    assert (first["source"], first["rejected"], first["lines_with_this_reason"]) == ("ads_views", 999, 999)
    assert rows == {name.rpartition("/")[2]: (0, None) for name in sql.audits("load") if "rejected" not in name}


def test_a_publication_that_broke_its_promise_is_told_beside_the_one_that_did_not(delivered: Night) -> None:
    delivered.run()
    before = delivered.lists()
    delivered.deliver(*ordinary_logs(shift=2))
    delivered.load()
    delivered.rank()
    made_up = "UPDATE models.candidates SET product_id = 'made up' WHERE advertiser_id = 'ACME' AND rank = 1"
    delivered.warehouse.rows(made_up)
    with pytest.raises(PipelineError, match="products_had_events"):
        delivered.publish()
    assert delivered.lists() == before
    rows = delivered.warehouse.rows(
        "SELECT broken_rows, first_row ->> 'product_id' FROM marts.audit_results "
        "WHERE audit = 'products_had_events' ORDER BY audited_at"
    )
    assert rows[0] == (0, None)
    assert rows[1][0] > 0
    assert rows[1][1] == "made up"


def test_a_part_of_a_day_that_is_waited_for_is_told_each_time(night: Night) -> None:
    days = [f"2024-11-{n}" for n in range(13, 20)]
    for day in days:
        night.deliver(*ordinary_logs(day))
        night.load(day)
    active, views, ads = ordinary_logs()
    night.deliver(active, views[:20], ads[:20])
    for _ in range(2):
        with pytest.raises(NotYet):
            night.load()
    ((attempts, least),) = night.warehouse.rows(
        "SELECT count(*), min(broken_rows) FROM marts.audit_results WHERE kind = 'arrival' AND date = %s", DAY
    )
    assert attempts == 2
    assert least > 0


def test_they_go_with_their_day_and_those_of_a_day_that_never_loaded_after_as_long(night: Night) -> None:
    for day in ("2024-09-01", DAY):
        night.deliver(*ordinary_logs(day))
        night.run(day)
    night.put("ads_views", night.object("ads_views") + b"unreadable\n" * 999)
    failed = {str(datetime.now(UTC).date() - timedelta(n)) for n in (60, 61)}
    for day in failed:
        with pytest.raises(PipelineError, match="rejected_share"):
            night.load(day)
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    night.change(keep_days=60, keep_working_days=30)
    night.forget()
    kept = {day for (day,) in night.warehouse.rows("SELECT DISTINCT date::text FROM marts.audit_results")}
    assert kept == {DAY, max(failed)}


def test_a_mistake_in_an_audit_of_the_arrival_is_not_waited_for(delivered: Night, copied: Path) -> None:
    with (copied / "audits" / "arrival" / "the_day_is_whole.sql").open("a") as file:
        file.write("AND nonsense\n")
    with pytest.raises(PipelineError, match=r"^sql/audits/arrival/the_day_is_whole\.sql: ") as told:
        delivered.load()
    assert not isinstance(told.value, NotYet)
