-- How long ago the newest published log day ended, in hours, and which day it is.
-- Grain: one row; without a publication no row. Parameters: none. Not ordered: one row.
-- A day ends at midnight UTC. Just before the next night's publication the age is 24 hours and the length of a run.
SELECT
    round(extract(EPOCH FROM now() - (max(publications.date) + 1)::timestamp AT TIME ZONE 'UTC') / 3600, 2) AS hours,
    max(publications.date) AS date
FROM marts.publications
HAVING count(*) > 0;
