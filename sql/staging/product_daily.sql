-- staging.product_daily: Events of active advertisers, counted: what models read.
-- Grain: log day, advertiser, product with an event
-- Source: pg_temp.event_counts, pg_temp.active_advertisers.
-- Freshness: FiltrarDatos, when it loads the day; the day is deleted and written again.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Active advertiser
-- product_id: Product of the advertiser
-- impressions: Ad impressions of the day; identical lines are separate events
-- clicks: Ad clicks of the day; may exceed impressions (clicked after midnight)
-- views: Views of the product's page on the day
--
-- In the order of the primary key, so that its pages are filled one after the other.
SELECT staging.make_month(%(ds)s::date) AS made;

DELETE FROM staging.product_daily
WHERE product_daily.date = %(ds)s::date;

-- Read in the order of advertisers, so that the products of one at a time are sorted and added up.
INSERT INTO staging.product_daily (date, advertiser_id, product_id, impressions, clicks, views)
WITH counted AS (
    SELECT
        in_order.advertiser_id,
        counts.product_id,
        counts.impressions,
        counts.clicks,
        counts.views
    FROM (
        SELECT
            event_counts.advertiser_id,
            event_counts.products,
            event_counts.impressions,
            event_counts.clicks,
            event_counts.views
        FROM pg_temp.event_counts
        INNER JOIN pg_temp.active_advertisers ON event_counts.advertiser_id = active_advertisers.advertiser_id
        ORDER BY event_counts.advertiser_id
    ) AS in_order
    CROSS JOIN
        LATERAL unnest(in_order.products, in_order.impressions, in_order.clicks, in_order.views) AS counts (
            product_id, impressions, clicks, views
        )
    ORDER BY in_order.advertiser_id, counts.product_id
)

SELECT
    %(ds)s::date AS date,
    counted.advertiser_id,
    counted.product_id,
    coalesce(sum(counted.impressions), 0) AS impressions,
    coalesce(sum(counted.clicks), 0) AS clicks,
    coalesce(sum(counted.views), 0) AS views
FROM counted
GROUP BY counted.advertiser_id, counted.product_id
ORDER BY counted.advertiser_id ASC, counted.product_id ASC;
