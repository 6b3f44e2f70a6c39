-- staging.refused_loads: The last time that a day could not be loaded, and from what.
-- Grain: log day
-- Source: the run itself.
-- Freshness: FiltrarDatos, after everything else that it did was rolled back.
-- Parameters: ds, the log day; run_id; why; objects, as below.
-- date: Log day, UTC
-- refused_at: When; before loaded_at in staging.loads: it has been loaded since
-- run_id: Run that was refused: of Airflow, or rebuild
-- why: What it said
-- objects: What it was refused from, arrays of log, URI and ETag; none where logs were missing or S3 was away
INSERT INTO staging.refused_loads (date, run_id, why, objects)
VALUES (%(ds)s::date, %(run_id)s, %(why)s, %(objects)s::jsonb)
ON CONFLICT (date) DO UPDATE
    SET
        refused_at = excluded.refused_at,
        run_id = excluded.run_id,
        why = excluded.why,
        objects = excluded.objects
