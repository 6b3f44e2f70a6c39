-- marts.active_advertisers: Advertisers on the active list of a published day.
-- Grain: log day, advertiser
-- Source: staging.active_advertisers.
-- Freshness: DBWriting, in the transaction that publishes the day.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Active advertiser
--
-- Rows that are there already stay as they are.
DELETE FROM marts.active_advertisers
WHERE
    active_advertisers.date = %(ds)s::date
    AND NOT EXISTS (
        SELECT 1
        FROM staging.active_advertisers AS loaded
        WHERE
            loaded.date = active_advertisers.date
            AND loaded.advertiser_id = active_advertisers.advertiser_id
    );

INSERT INTO marts.active_advertisers (date, advertiser_id)
SELECT
    active_advertisers.date,
    active_advertisers.advertiser_id
FROM staging.active_advertisers
WHERE active_advertisers.date = %(ds)s::date
ON CONFLICT (date, advertiser_id) DO NOTHING;
