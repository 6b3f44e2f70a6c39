-- staging.exclusions: Products that must not be listed, as the list for the day says.
-- Grain: log day, advertiser, product
-- Source: pg_temp.exclusions.
-- Freshness: FiltrarDatos, when it loads the day; the day is deleted and written again. Empty without EXCLUSIONS_URI.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Advertiser
-- product_id: Product of the advertiser that is on none of its lists of the day
--
-- Blanks around ids are not of them, as in the logs.
DELETE FROM staging.exclusions
WHERE exclusions.date = %(ds)s::date;

INSERT INTO staging.exclusions (date, advertiser_id, product_id)
SELECT DISTINCT
    %(ds)s::date AS date,
    btrim(exclusions.advertiser_id, E' \t\r\n\u00a0') AS advertiser_id,
    btrim(exclusions.product_id, E' \t\r\n\u00a0') AS product_id
FROM pg_temp.exclusions;
