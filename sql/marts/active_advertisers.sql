-- marts.active_advertisers: the active list that the day's lists were made with.
-- Grain: log day, advertiser. Parameters: ds, the log day.
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
