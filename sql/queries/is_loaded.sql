-- Is the day loaded? A row, if it is.
-- Grain: log day. Parameters: ds, the log day.
SELECT loads.date
FROM staging.loads
WHERE loads.date = %(ds)s::date
