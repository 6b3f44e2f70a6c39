-- staging.active_advertisers: Who was active, as the list for the day says.
-- Grain: log day, advertiser
-- Source: pg_temp.active_advertisers.
-- Freshness: FiltrarDatos, when it loads the day; the day is deleted and written again.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Advertiser on the list
DELETE FROM staging.active_advertisers
WHERE active_advertisers.date = %(ds)s::date;

INSERT INTO staging.active_advertisers (date, advertiser_id)
SELECT
    %(ds)s::date AS date,
    active_advertisers.advertiser_id
FROM pg_temp.active_advertisers;
