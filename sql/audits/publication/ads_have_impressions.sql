-- Where ads were clicked, some were shown: a log with clicks only lacks its impressions.
-- Parameters: ds, models. A row returned = the promise is broken.
SELECT
    sum(product_daily.clicks) AS clicks,
    sum(product_daily.impressions) AS impressions
FROM staging.product_daily
WHERE product_daily.date = %(ds)s::date
HAVING sum(product_daily.clicks) > 0 AND sum(product_daily.impressions) = 0
