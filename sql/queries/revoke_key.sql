-- Revokes a key of the API, if it is not revoked yet.
-- Grain: key. Parameters: key_name.
UPDATE marts.api_keys SET
    revoked_at = now()
WHERE
    api_keys.name = %(key_name)s
    AND api_keys.revoked_at IS NULL
