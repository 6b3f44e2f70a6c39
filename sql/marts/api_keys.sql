-- marts.api_keys: Keys with which the API may be asked, where its setting API_ACCESS is `keys`.
-- Grain: key
-- Source: `python -m elt key create`, and `key revoke` (sql/queries/revoke_key.sql), by the warehouse's owner.
-- Freshness: at once: the commit waits until nobody answers by the keys of before (marts.commit_after_leases). Kept for
-- good, so that a name never means another key.
-- Parameters: key_name; sha256; advertisers; expires_at.
-- name: What the key is called
-- sha256: Of the key, which nobody keeps. It is 256 random bits: a slow hash would protect nothing that can be guessed
-- advertisers: Those whose lists and figures it may read, and no others; null: everything
-- expires_at: The moment from which it is refused; null: none
-- created_at: When it was made
-- revoked_at: When it was revoked; null: it is not
INSERT INTO marts.api_keys (name, sha256, advertisers, expires_at)
VALUES (%(key_name)s, %(sha256)s, %(advertisers)s::text[], %(expires_at)s::date::timestamp AT TIME ZONE 'UTC')
ON CONFLICT (name) DO NOTHING;
