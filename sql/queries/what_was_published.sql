-- What Airflow is told of a published day, and which days near it the run has published again: those that look back on
-- it, and those of which something came late.
-- Grain: one row, a JSON object. Parameters: ds, the log day; run_id.
SELECT
    json_build_object(
        'date', %(ds)s::date,
        'changed', coalesce(bool_or(publications.run_id = %(run_id)s), false),
        'hours_after_the_day', round(
            extract(EPOCH FROM max(publications.published_at) - (%(ds)s::date + 1)::timestamp AT TIME ZONE 'UTC')
            / 3600,
            2
        ),
        'models', json_object_agg(
            publications.model,
            json_build_object(
                'products', publications.row_count,
                'advertisers', publications.advertiser_count,
                'revision', publications.revision,
                'published_at', publications.published_at
            )
        ),
        'also_published', (
            SELECT coalesce(json_agg(DISTINCT other.date), '[]')
            FROM marts.publications AS other
            WHERE
                other.date BETWEEN %(ds)s::date - 30 AND %(ds)s::date + 30
                AND other.date <> %(ds)s::date
                AND other.run_id = %(run_id)s
        )
    ) AS told
FROM marts.publications
WHERE publications.date = %(ds)s::date
