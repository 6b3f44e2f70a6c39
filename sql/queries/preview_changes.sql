-- The lists that differ most, of the last previewed day, with the products that come and go.
-- Grain: advertiser, at most 10. Parameters: ds, the log day.
SELECT
    json_build_object(
        'advertiser_id', previewed.advertiser_id,
        'rank_weighted_change', round(previewed.change, 6),
        'comes', coalesce(previewed.comes, '{}'),
        'goes', coalesce(previewed.goes, '{}')
    ) AS change
FROM pg_temp.previewed
WHERE
    previewed.date = %(ds)s::date
    AND previewed.change > 0
ORDER BY previewed.change DESC, previewed.advertiser_id ASC
LIMIT 10
