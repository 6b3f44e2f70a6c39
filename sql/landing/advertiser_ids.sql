-- pg_temp.advertiser_ids: The list of active advertisers as delivered.
-- Grain: one line of the list
-- Source: S3 advertiser_ids.
-- Parameters: none.
--
-- The columns are what the header must name; a line that breaks a constraint is rejected under the constraint's name.
CREATE TEMPORARY TABLE advertiser_ids (
    advertiser_id text COLLATE "C" NOT NULL
    CONSTRAINT advertiser_id_is_not_1_to_64_bytes CHECK (
        (ascii(advertiser_id) > 32 AND ascii(advertiser_id) <> 160 AND octet_length(advertiser_id) <= 64)
        OR octet_length(btrim(advertiser_id, E' \t\r\n\u00a0')) BETWEEN 1 AND 64
    )
);
