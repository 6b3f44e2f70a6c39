-- Recommended: the list to show: the products that are clicked most, as far as clicks tell, then those viewed most.
-- Grain: advertiser, rank (1 to 20). Parameters: ds, the log day.
-- Reads DecayedCTR's ranking, and the events of the last 3 days.
-- source: what put the entry here: DecayedCTR, TopProduct, or Seen, an event of the 3 days, but no view of the day
-- decayed_ctr: the rate that DecayedCTR ranks by; null where it is not what put the entry here
-- clicks: ad clicks of the 30 days
-- impressions: ad impressions of the 30 days
-- views: views of the day
-- days: days of the 30 that are loaded
--
-- A product that was clicked has evidence of its own: those come first, in the order of DecayedCTR. Of the others the
-- clicks say nothing, so they come in the order of TopProduct, and last what had an event on the 2 days before. So an
-- advertiser with 20 products that had an event in the last 3 days has a list of 20, and one with any event a list.
-- The score is the rate of DecayedCTR, and 0 below it. Where DecayedCTR has no row for a product (an advertiser without
-- an impression, a click alone), clicks and impressions are those of the 3 days.
WITH seen AS (
    SELECT
        decayed_ctr.advertiser_id,
        decayed_ctr.product_id,
        decayed_ctr.rank AS place,
        decayed_ctr.decayed_ctr,
        decayed_ctr.clicks AS clicks_of_30,
        decayed_ctr.impressions AS impressions_of_30,
        0 AS clicks,
        0 AS impressions,
        0 AS views
    FROM pg_temp.decayed_ctr
    UNION ALL
    SELECT
        product_daily.advertiser_id,
        product_daily.product_id,
        NULL AS place,
        NULL AS decayed_ctr,
        NULL AS clicks_of_30,
        NULL AS impressions_of_30,
        product_daily.clicks,
        product_daily.impressions,
        CASE WHEN product_daily.date = %(ds)s::date THEN product_daily.views ELSE 0 END AS views
    FROM staging.product_daily
    WHERE
        product_daily.date BETWEEN %(ds)s::date - 2 AND %(ds)s::date
        AND product_daily.views + product_daily.impressions + product_daily.clicks > 0
    UNION ALL
    -- Without a product: how the window below knows that the advertiser is active.
    SELECT
        active_advertisers.advertiser_id,
        NULL AS product_id,
        NULL AS place,
        NULL AS decayed_ctr,
        NULL AS clicks_of_30,
        NULL AS impressions_of_30,
        NULL AS clicks,
        NULL AS impressions,
        NULL AS views
    FROM staging.active_advertisers
    WHERE active_advertisers.date = %(ds)s::date
),

products AS (
    SELECT
        seen.advertiser_id,
        seen.product_id,
        min(seen.place) AS place,
        min(seen.decayed_ctr) AS decayed_ctr,
        coalesce(min(seen.clicks_of_30), sum(seen.clicks)::bigint) AS clicks,
        coalesce(min(seen.impressions_of_30), sum(seen.impressions)::bigint) AS impressions,
        sum(seen.views)::bigint AS views
    FROM seen
    GROUP BY seen.advertiser_id, seen.product_id
),

known AS (
    SELECT
        products.*,
        products.clicks > 0 AND products.place IS NOT NULL AS is_rated,
        bool_or(products.product_id IS NULL) OVER (PARTITION BY products.advertiser_id) AS is_active
    FROM products
),

ranked AS (
    SELECT
        known.*,
        row_number() OVER (
            PARTITION BY known.advertiser_id
            ORDER BY
                known.is_rated DESC,
                CASE WHEN known.is_rated THEN known.place END ASC,
                known.clicks > 0 DESC,
                known.views DESC,
                known.product_id ASC
        ) AS rank
    FROM known
    WHERE
        known.is_active
        AND known.product_id IS NOT NULL
)

SELECT
    ranked.advertiser_id,
    ranked.rank,
    ranked.product_id,
    CASE WHEN ranked.is_rated THEN ranked.decayed_ctr ELSE 0 END AS score,
    CASE WHEN ranked.is_rated THEN 'DecayedCTR' WHEN ranked.views > 0 THEN 'TopProduct' ELSE 'Seen' END AS source,
    CASE WHEN ranked.is_rated THEN ranked.decayed_ctr END AS decayed_ctr,
    ranked.clicks,
    ranked.impressions,
    ranked.views,
    (
        SELECT count(*)
        FROM staging.loads
        WHERE loads.date BETWEEN %(ds)s::date - 29 AND %(ds)s::date
    ) AS days
FROM ranked
