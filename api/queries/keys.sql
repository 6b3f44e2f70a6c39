-- The keys that may ask, those that have expired too, with the version of what readers see. No parameters.
-- Grain: key; where there is none one row, whose sha256 is NULL.
SELECT
    encode(api_keys.sha256, 'hex') AS sha256,
    api_keys.name,
    api_keys.advertisers,
    extract(EPOCH FROM api_keys.expires_at)::double precision AS expires_at,
    version.number AS version
FROM marts.version
LEFT JOIN marts.api_keys ON api_keys.revoked_at IS NULL
