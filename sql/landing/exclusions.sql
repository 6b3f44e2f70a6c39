-- pg_temp.exclusions: The list of products that must not be listed, as delivered.
-- Grain: one line of the list
-- Source: S3 exclusions.
-- Parameters: none.
--
-- The columns are what the header must name; a line that breaks a constraint is rejected under the constraint's name.
CREATE TEMPORARY TABLE exclusions (
    advertiser_id text COLLATE "C" NOT NULL
    CONSTRAINT advertiser_id_is_not_1_to_64_bytes CHECK (
        octet_length(btrim(advertiser_id, E' \t\r\n\u00a0')) BETWEEN 1 AND 64
    ),
    product_id text COLLATE "C" NOT NULL
    CONSTRAINT product_id_is_not_1_to_64_bytes CHECK (
        octet_length(btrim(product_id, E' \t\r\n\u00a0')) BETWEEN 1 AND 64
    )
);
