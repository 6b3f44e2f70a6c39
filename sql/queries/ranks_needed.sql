-- How far down a model has to rank, so that lists are still full when what must not be listed has gone.
-- Grain: one row. Parameters: ds, the log day.
SELECT 20 + coalesce(max(of_advertiser.products), 0) AS ranks
FROM (
    SELECT count(*) AS products
    FROM models.unlisted
    WHERE unlisted.date = %(ds)s::date
    GROUP BY unlisted.advertiser_id
) AS of_advertiser
