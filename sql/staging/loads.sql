-- staging.loads: the day now stands on a new load.
-- Grain: log day. Parameters: ds, filter_version, run_id.
INSERT INTO staging.loads (date, load_id, filter_version, run_id)
VALUES (%(ds)s::date, gen_random_uuid(), %(filter_version)s, %(run_id)s)
ON CONFLICT (date) DO UPDATE SET
    load_id = excluded.load_id,
    filter_version = excluded.filter_version,
    run_id = excluded.run_id,
    loaded_at = excluded.loaded_at;
