-- A day is withdrawn: by sql/retention/published.sql, which comes next, what readers see of it goes, and nothing else.
-- Parameters: ds, the log day.
CREATE TEMPORARY TABLE expired ON COMMIT DROP AS
SELECT %(ds)s::date AS date;

CREATE TEMPORARY TABLE expired_alone ON COMMIT DROP AS
SELECT expired.date
FROM pg_temp.expired;
