-- The list of active advertisers is not empty.
-- Parameters: ds. A row returned = the promise is broken.
SELECT 0 AS active_advertisers
WHERE NOT EXISTS (
    SELECT 1
    FROM staging.active_advertisers
    WHERE active_advertisers.date = %(ds)s::date
)
