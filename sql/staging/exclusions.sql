-- staging.exclusions: Products that must not be listed, as the list for the day says.
-- Grain: log day, advertiser, product
-- Source: pg_temp.exclusions.
-- Freshness: FiltrarDatos, when it loads the day; the day is deleted and written again. Empty without EXCLUSIONS_URI.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Advertiser
-- product_id: Product of the advertiser that is on none of its lists of the day
DELETE FROM staging.exclusions
WHERE exclusions.date = %(ds)s::date;

INSERT INTO staging.exclusions (date, advertiser_id, product_id)
SELECT DISTINCT
    %(ds)s::date AS date,
    exclusions.advertiser_id,
    exclusions.product_id
FROM pg_temp.exclusions;
