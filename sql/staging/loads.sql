-- staging.loads: The load that the day stands on.
-- Grain: log day
-- Source: the run itself.
-- Freshness: FiltrarDatos, in the transaction that writes the day's counts.
-- Parameters: ds, the log day; filter_version; run_id.
-- date: Log day, UTC
-- load_id: New with every load; models.builds names the load that a build read
-- filter_version: Content hash of what decides what is read of the logs: SQL, the way of landing, their date format
-- run_id: Run that loaded the day: of Airflow, or rebuild
-- loaded_at: When the load began to be written
INSERT INTO staging.loads (date, load_id, filter_version, run_id)
VALUES (%(ds)s::date, gen_random_uuid(), %(filter_version)s, %(run_id)s)
ON CONFLICT (date) DO UPDATE
    SET
        load_id = excluded.load_id,
        filter_version = excluded.filter_version,
        run_id = excluded.run_id,
        loaded_at = excluded.loaded_at
RETURNING loads.load_id::text AS load_id;
