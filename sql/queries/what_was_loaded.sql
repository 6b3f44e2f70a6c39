-- What Airflow is told of a loaded day.
-- Grain: one row, a JSON object. Parameters: ds, the log day.
SELECT
    json_build_object(
        'date', loads.date,
        'loaded_at', loads.loaded_at,
        'load_id', loads.load_id,
        'active_advertisers', (
            SELECT count(*)
            FROM staging.active_advertisers
            WHERE active_advertisers.date = %(ds)s::date
        ),
        'lines', (
            SELECT
                json_object_agg(
                    accounting.source,
                    json_build_object(
                        'delivered', accounting.delivered,
                        'kept', accounting.kept,
                        'other_day', accounting.other_day,
                        'inactive', accounting.inactive,
                        'rejected', accounting.rejected
                    )
                )
            FROM staging.accounting
            WHERE accounting.date = %(ds)s::date
        )
    ) AS told
FROM staging.loads
WHERE loads.date = %(ds)s::date
