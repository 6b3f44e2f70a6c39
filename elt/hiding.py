"""A product taken off every list by hand, at once, and put back."""

from collections.abc import Callable, Sequence
from typing import Any

from elt import following, sql, steps, warehouse
from elt.errors import FAILURES, Locked, NotYet, PipelineError, Withdrawn
from elt.settings import Settings
from elt.warehouse import Connect

RUN_ID = "hide"
"""Recorded as the run that published."""

TRIES = 5
"""Others may hide products, or publish a newer day, while this is at it."""


def hide(
    advertiser: str,
    product: str,
    models: Sequence[sql.Model],
    connect: Connect,
    open_s3: Callable[[], Any],
    settings: Settings,
    *,
    why: str,
    by: str,
) -> dict[str, list[str]]:
    """Leaves the product out of every list from now on, and publishes the newest day again without it.

    Recorded first, in marts.hidden_products: what is ranked from then on leaves it out, and one that was stopped is
    simply started again. Returns the days published again, with the models whose lists changed. Raises PipelineError
    when an audit is broken, and before anything is recorded when a model cuts its lists itself.
    """
    for model in models:
        model.check_fills_up()
    key = {"advertiser_id": advertiser, "product_id": product}
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "marts/hidden_products", why=why, who=by, **key)
        conn.commit()
    return _publish_newest(models, connect, open_s3, settings)


def unhide(
    advertiser: str,
    product: str,
    models: Sequence[sql.Model],
    connect: Connect,
    open_s3: Callable[[], Any],
    settings: Settings,
    *,
    by: str,
) -> dict[str, list[str]]:
    """Takes back that the product is hidden, and publishes the newest day again.

    Returns and raises as `hide` does; also raises PipelineError when it is not hidden.
    """
    key = {"advertiser_id": advertiser, "product_id": product}
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/unhide", who=by, **key)
        if not cursor.rowcount:
            raise PipelineError(f"{product} of {advertiser} is not hidden; marts.hidden_products says what is")
        conn.commit()
    return _publish_newest(models, connect, open_s3, settings)


def ranked_before(day: str, models: Sequence[sql.Model], connect: Connect) -> list[str]:
    """The models whose lists of the day were ranked before a product was last hidden or unhidden."""
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/hidden_since", ds=day, models=[model.name for model in models])
        return [name for (name,) in cursor.fetchall()]


def _publish_newest(
    models: Sequence[sql.Model], connect: Connect, open_s3: Callable[[], Any], settings: Settings
) -> dict[str, list[str]]:
    """Until the newest published day is one that was ranked with all that is hidden."""
    published: dict[str, list[str]] = {}
    for _ in range(TRIES):
        with warehouse.session(connect) as conn, conn.cursor() as cursor:
            warehouse.run(cursor, "queries/newest_day")
            if (newest := cursor.fetchone()) is None:
                return published
        (day,) = newest
        failed: Exception | None = None
        try:
            # A model that is newer than the day's publication was never built for it.
            following.rank_again(day, models, ["hidden_since", "models_to_build"], connect, open_s3, settings)
            changed = steps.publish(day, models, connect, settings, run_id=RUN_ID)
        except FAILURES as error:
            failed = error
            if isinstance(error, Locked) or not isinstance(error, NotYet | Withdrawn):
                break
        else:
            published.setdefault(day, []).extend(changed)
            if not ranked_before(day, models, connect):
                return published
    raise PipelineError(
        f"recorded, but {day} is not published again: "
        f"{str(failed or 'others hide products at the same time').strip()}; "
        f"`python -m elt rebuild --from {day} --to {day}` publishes it"
    ) from failed
