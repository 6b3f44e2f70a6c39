-- marts.active_advertisers: Advertisers on the active list of a published day.
-- Grain: log day, advertiser
-- Source: staging.active_advertisers.
-- Freshness: DBWriting, in the transaction that publishes the day.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Active advertiser
--
-- Rows that are there already stay as they are. NOT IN is read once and hashed; NOT EXISTS is joined, and the planner,
-- which knows nothing of the day, reads the list again for each advertiser.
DELETE FROM marts.active_advertisers
WHERE
    active_advertisers.date = %(ds)s::date
    AND active_advertisers.advertiser_id NOT IN (
        SELECT loaded.advertiser_id
        FROM staging.active_advertisers AS loaded
        WHERE loaded.date = %(ds)s::date
    );

INSERT INTO marts.active_advertisers (date, advertiser_id)
SELECT
    active_advertisers.date,
    active_advertisers.advertiser_id
FROM staging.active_advertisers
WHERE active_advertisers.date = %(ds)s::date
ON CONFLICT (date, advertiser_id) DO NOTHING;
