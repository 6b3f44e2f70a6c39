-- models.unlisted: Products that no list of the day names: excluded by the list for the day, or hidden now.
-- Grain: log day, advertiser, product
-- Source: staging.exclusions, staging.loads, marts.hidden_products.
-- Freshness: a view: always what the tables say.
-- Parameters: none.
-- date: Log day that is loaded, UTC
-- advertiser_id: Advertiser
-- product_id: Product of the advertiser
--
-- What is hidden is left out of whatever is ranked while it is hidden, of any day. Lists that were published before, of
-- older days, stay as they were shown; one of those that becomes the newest again is to be ranked again.
SELECT
    exclusions.date,
    exclusions.advertiser_id,
    exclusions.product_id
FROM staging.exclusions
UNION
SELECT
    loads.date,
    hidden_products.advertiser_id,
    hidden_products.product_id
FROM staging.loads
CROSS JOIN marts.hidden_products
WHERE hidden_products.unhidden_at IS NULL
