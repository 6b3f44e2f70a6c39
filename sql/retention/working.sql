-- Rejected lines and published candidates of days loaded more than keep_working_days ago go: what is worked with for a
-- while. A day that was never loaded counts from its date.
-- Parameters: keep_working_days.
-- Candidates that differ from what is published stay, since a retry of DBWriting may still publish them.
DELETE FROM staging.rejected_lines
WHERE
    rejected_lines.date < current_date - %(keep_working_days)s::integer
    AND NOT EXISTS (
        SELECT 1
        FROM staging.loads
        WHERE
            loads.date = rejected_lines.date
            AND loads.loaded_at > now() - make_interval(days => %(keep_working_days)s::integer)
    );

DELETE FROM models.candidates
USING models.builds, marts.publications
WHERE
    builds.date = candidates.date
    AND builds.model = candidates.model
    AND publications.date = builds.date
    AND publications.model = builds.model
    AND publications.lists_hash = builds.lists_hash
    -- An array: these days are looked up by the index, whatever the planner knows.
    AND candidates.date = any(array(
        SELECT loads.date
        FROM staging.loads
        WHERE
            loads.date < current_date - %(keep_working_days)s::integer
            AND loads.loaded_at < now() - make_interval(days => %(keep_working_days)s::integer)
    ));
