-- Of the advertisers named, those that are on the active list of no published day.
-- Grain: advertiser. Parameters: advertisers.
SELECT named.advertiser_id
FROM unnest(%(advertisers)s::text[]) AS named (advertiser_id)
WHERE
    NOT EXISTS (
        SELECT 1
        FROM marts.active_advertisers
        WHERE active_advertisers.advertiser_id = named.advertiser_id
    )
ORDER BY named.advertiser_id
