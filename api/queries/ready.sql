-- GET /health/ready: the newest published day, or NULL. No parameters.
SELECT max(publications.date)::text AS newest
FROM marts.publications
