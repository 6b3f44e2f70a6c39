-- The keys of the API, the newest first, as people read them: all, or the one of a name.
-- Grain: key. Parameters: key_name, or NULL for all.
SELECT
    api_keys.name,
    coalesce(array_to_string(api_keys.advertisers, ' '), 'everything') AS reads,
    to_char(api_keys.created_at AT TIME ZONE 'UTC', '"made on" YYYY-MM-DD') AS made,
    CASE
        WHEN api_keys.revoked_at IS NOT NULL
            THEN to_char(api_keys.revoked_at AT TIME ZONE 'UTC', '"revoked on" YYYY-MM-DD')
        WHEN api_keys.expires_at <= now()
            THEN to_char(api_keys.expires_at AT TIME ZONE 'UTC', '"expired on" YYYY-MM-DD')
        WHEN api_keys.expires_at IS NOT NULL
            THEN to_char(api_keys.expires_at AT TIME ZONE 'UTC', '"expires on" YYYY-MM-DD')
        ELSE 'does not expire'
    END AS state
FROM marts.api_keys
WHERE
    %(key_name)s::text IS NULL
    OR api_keys.name = %(key_name)s::text
ORDER BY api_keys.created_at DESC, api_keys.name ASC
