-- The active list did not shrink by more than max_advertiser_drop since the last loaded day before.
-- A list cut short on its way looks like many advertisers leaving at once.
-- Parameters: ds, max_advertiser_drop (0 to 1). A row returned = the promise is broken.
WITH lists AS (
    SELECT
        active_advertisers.date,
        count(*) AS advertisers
    FROM staging.active_advertisers
    WHERE
        active_advertisers.date = %(ds)s::date
        OR active_advertisers.date = (
            SELECT max(earlier.date)
            FROM staging.active_advertisers AS earlier
            WHERE earlier.date < %(ds)s::date
        )
    GROUP BY active_advertisers.date
)

SELECT
    previous.date AS previous_day,
    previous.advertisers AS advertisers_then,
    today.advertisers AS advertisers_now,
    %(max_advertiser_drop)s AS max_advertiser_drop
FROM lists AS previous
INNER JOIN lists AS today ON previous.date < today.date
WHERE today.advertisers < previous.advertisers * (1 - %(max_advertiser_drop)s::numeric)
