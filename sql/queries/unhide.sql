-- Takes back that a product is hidden, if it is.
-- Grain: hiding. Parameters: advertiser_id; product_id; who.
UPDATE marts.hidden_products SET
    unhidden_by = %(who)s,
    unhidden_at = now()
WHERE
    hidden_products.advertiser_id = %(advertiser_id)s
    AND hidden_products.product_id = %(product_id)s
    AND hidden_products.unhidden_at IS NULL
