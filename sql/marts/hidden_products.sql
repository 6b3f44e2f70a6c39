-- marts.hidden_products: Products that were hidden by hand, and are until they are unhidden: on no list of any model.
-- Grain: hiding of a product
-- Source: `python -m elt hide`, and `unhide` (sql/queries/unhide.sql).
-- Freshness: at once; the lists of the newest day follow within seconds. Kept for good.
-- Parameters: advertiser_id; product_id; why; who.
-- advertiser_id: Advertiser
-- product_id: Product of the advertiser
-- why: Why, as whoever hid it said
-- hidden_by: Who hid it: the name that the command was given, or the operating system's
-- hidden_at: When
-- unhidden_by: Who took that back
-- unhidden_at: When; null: it is hidden now
--
-- Blanks around ids are not of them, as in the logs.
INSERT INTO marts.hidden_products (advertiser_id, product_id, why, hidden_by)
VALUES (
    btrim(%(advertiser_id)s, E' \t\r\n\u00a0'),
    btrim(%(product_id)s, E' \t\r\n\u00a0'),
    %(why)s,
    %(who)s
)
ON CONFLICT (advertiser_id, product_id) WHERE hidden_products.unhidden_at IS NULL DO NOTHING;
