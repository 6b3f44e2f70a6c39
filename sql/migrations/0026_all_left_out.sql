-- A model of whose products none may be listed has no lists, and that is no fault. What is hidden has an id, as in the
-- logs.

ALTER TABLE models.builds ADD COLUMN left_out bigint NOT NULL DEFAULT 0;

ALTER TABLE marts.hidden_products
ADD CONSTRAINT advertiser_id_is_not_1_to_64_bytes CHECK (octet_length(advertiser_id) BETWEEN 1 AND 64) NOT VALID,
ADD CONSTRAINT product_id_is_not_1_to_64_bytes CHECK (octet_length(product_id) BETWEEN 1 AND 64) NOT VALID;
