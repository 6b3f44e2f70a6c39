-- What FiltrarDatos keeps of the ad events: the day's, of active advertisers, in the columns of the raw log.
-- Grain: one impression or click. Parameters: ds, the log day. Order: as delivered.
SELECT
    ads_views.advertiser_id,
    ads_views.product_id,
    ads_views.type,
    ads_views.date
FROM pg_temp.ads_views
INNER JOIN pg_temp.active_advertisers ON ads_views.advertiser_id = active_advertisers.advertiser_id
WHERE ads_views.date = %(ds)s::date
