-- pg_temp.advertiser_ids: The list of active advertisers as delivered.
-- Grain: one line of the list
-- Source: S3 advertiser_ids.
-- Parameters: none.
--
-- The columns are what the header must name; a line that breaks a constraint is rejected under the constraint's name.
CREATE TEMPORARY TABLE advertiser_ids (
    advertiser_id text COLLATE "C" NOT NULL
    CONSTRAINT advertiser_id_is_not_1_to_64_bytes CHECK (octet_length(advertiser_id) BETWEEN 1 AND 64)
);
