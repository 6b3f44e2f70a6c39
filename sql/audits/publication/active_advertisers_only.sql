-- Only advertisers on the day's active list have lists.
-- Parameters: ds. A row returned = the promise is broken.
-- Grouped, not joined: the planner expects one row of a day that has just been written.
WITH named AS (
    SELECT
        recommendations.advertiser_id,
        recommendations.model,
        false AS is_active
    FROM marts.recommendations
    WHERE recommendations.date = %(ds)s::date
    UNION ALL
    SELECT
        active_advertisers.advertiser_id,
        null AS model,
        true AS is_active
    FROM staging.active_advertisers
    WHERE active_advertisers.date = %(ds)s::date
)

SELECT
    named.advertiser_id,
    string_agg(DISTINCT named.model, ', ') AS models
FROM named
GROUP BY named.advertiser_id
HAVING NOT bool_or(named.is_active)
