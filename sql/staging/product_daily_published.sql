-- staging.product_daily_published: Counts of a published day, set aside while it is loaded anew, until it is published
-- again. Empty but for such days.
-- Grain: log day, advertiser, product with an event
-- Source: staging.product_daily of a day in marts.publications that staging.days_set_aside does not have yet.
-- Freshness: FiltrarDatos, before it replaces the counts of a published day; DBWriting of the day deletes them.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Active advertiser
-- product_id: Product of the advertiser
-- impressions: Ad impressions of the day; identical lines are separate events
-- clicks: Ad clicks of the day; may exceed impressions (clicked after midnight)
-- views: Views of the product's page on the day
--
-- The first that are set aside stay, however often the day is loaded until it is published again
-- (staging.days_set_aside).
INSERT INTO staging.product_daily_published (date, advertiser_id, product_id, impressions, clicks, views)
SELECT
    product_daily.date,
    product_daily.advertiser_id,
    product_daily.product_id,
    product_daily.impressions,
    product_daily.clicks,
    product_daily.views
FROM staging.product_daily
WHERE
    product_daily.date = %(ds)s::date
    AND EXISTS (
        SELECT 1
        FROM marts.publications
        WHERE publications.date = %(ds)s::date
    )
    AND NOT EXISTS (
        SELECT 1
        FROM staging.days_set_aside
        WHERE days_set_aside.date = %(ds)s::date
    )
    -- The release before that table sets days aside without it.
    AND NOT EXISTS (
        SELECT 1
        FROM staging.product_daily_published AS aside
        WHERE aside.date = %(ds)s::date
    )
