-- What FiltrarDatos keeps of the views: the day's, of active advertisers, in the columns of the raw log.
-- Grain: one view. Parameters: ds, the log day. Order: as delivered.
SELECT
    product_views.advertiser_id,
    product_views.product_id,
    product_views.date
FROM pg_temp.product_views
INNER JOIN pg_temp.active_advertisers ON product_views.advertiser_id = active_advertisers.advertiser_id
WHERE product_views.date = %(ds)s::date
