-- Takes back that a product is hidden, if it is.
-- Grain: hiding. Parameters: advertiser_id; product_id; who.
UPDATE marts.hidden_products SET
    unhidden_by = %(who)s,
    unhidden_at = now()
WHERE
    hidden_products.advertiser_id = btrim(%(advertiser_id)s, E' \t\r\n\u00a0')
    AND hidden_products.product_id = btrim(%(product_id)s, E' \t\r\n\u00a0')
    AND hidden_products.unhidden_at IS NULL
