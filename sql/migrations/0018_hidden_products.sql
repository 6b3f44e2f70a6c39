-- Products that must not be listed: those of a delivered list, by day, and those hidden by hand.

CREATE TABLE staging.exclusions (
    date date NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (date, advertiser_id, product_id)
);

CREATE TABLE marts.hidden_products (
    advertiser_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    why text NOT NULL CONSTRAINT why_is_said CHECK (why <> ''),
    hidden_by text NOT NULL,
    hidden_at timestamptz NOT NULL DEFAULT now(),
    unhidden_by text,
    unhidden_at timestamptz,
    PRIMARY KEY (advertiser_id, product_id, hidden_at)
);
CREATE UNIQUE INDEX a_product_is_hidden_once ON marts.hidden_products (advertiser_id, product_id)
WHERE unhidden_at IS NULL;

CREATE TRIGGER change_version AFTER INSERT OR UPDATE OR TRUNCATE ON marts.hidden_products
FOR EACH STATEMENT EXECUTE FUNCTION marts.change_version();

CREATE TRIGGER change_version_if_deleted AFTER DELETE ON marts.hidden_products REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT EXECUTE FUNCTION marts.change_version();

ALTER TABLE models.builds ADD COLUMN hidings bigint NOT NULL DEFAULT 0;
