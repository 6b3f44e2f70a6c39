-- What an answer of 404 names as right: the models and days there are, and whether and when the advertiser was active.
-- Parameters: advertiser_id.
SELECT
    (
        SELECT coalesce(array_agg(DISTINCT publications.model), '{}')
        FROM marts.publications
        WHERE publications.date = (SELECT max(newest.date) FROM marts.publications AS newest)
    ) AS models,
    (SELECT min(publications.date)::text FROM marts.publications) AS first_day,
    (SELECT max(publications.date)::text FROM marts.publications) AS last_day,
    (
        SELECT max(active_advertisers.date)::text
        FROM marts.active_advertisers
        WHERE active_advertisers.advertiser_id = %(advertiser_id)s::text
    ) AS last_active
