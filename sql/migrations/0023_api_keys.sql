-- Keys with which the API may be asked: what sql/marts/api_keys.sql says.
--
-- Only the owner makes and revokes them; the API reads them, nobody else does.

CREATE TABLE marts.api_keys (
    name text COLLATE "C" PRIMARY KEY,
    sha256 bytea NOT NULL UNIQUE,
    advertisers text[] COLLATE "C" CONSTRAINT advertisers_are_named CHECK (cardinality(advertisers) > 0),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
REVOKE ALL ON marts.api_keys FROM recommendations_pipeline, recommendations_analyst;

CREATE TRIGGER change_version AFTER INSERT OR UPDATE OR TRUNCATE ON marts.api_keys
FOR EACH STATEMENT EXECUTE FUNCTION marts.change_version();

CREATE TRIGGER change_version_if_deleted AFTER DELETE ON marts.api_keys REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT EXECUTE FUNCTION marts.change_version();
