-- The newest published day, if there is one: the lists that the API answers with.
-- Grain: log day. No parameters.
SELECT max(publications.date)::text AS day
FROM marts.publications
HAVING count(*) > 0
