-- Looks through all rows, while others read and write them: which days they are of, and the hash of every list as it is
-- computed from here on (sql/models/builds.sql), so that a day that is run again is known to be what it was.

ALTER TABLE staging.product_daily VALIDATE CONSTRAINT before_its_months;
ALTER TABLE marts.recommendations VALIDATE CONSTRAINT before_its_months;

CREATE TEMPORARY TABLE rehashed ON COMMIT DROP AS
SELECT
    publications.date,
    publications.model,
    publications.lists_hash AS old_hash,
    md5(string_agg(lists.advertiser_id || lists.list_hash, ',' ORDER BY lists.advertiser_id)) AS new_hash
FROM (
    SELECT
        recommendations.date,
        recommendations.model,
        recommendations.advertiser_id,
        md5(string_agg(
            recommendations.score || recommendations.entry::text, ',' ORDER BY recommendations.rank
        )) AS list_hash
    FROM marts.recommendations
    GROUP BY recommendations.date, recommendations.model, recommendations.advertiser_id
) AS lists
INNER JOIN marts.publications
    ON
        lists.date = publications.date
        AND lists.model = publications.model
GROUP BY publications.date, publications.model;

UPDATE models.builds SET lists_hash = rehashed.new_hash
FROM pg_temp.rehashed
WHERE
    builds.date = rehashed.date
    AND builds.model = rehashed.model
    AND builds.lists_hash = rehashed.old_hash;

UPDATE staging.published_files SET lists_hash = rehashed.new_hash
FROM pg_temp.rehashed
WHERE
    published_files.date = rehashed.date
    AND published_files.model = rehashed.model
    AND published_files.lists_hash = rehashed.old_hash;

UPDATE marts.publications SET lists_hash = rehashed.new_hash
FROM pg_temp.rehashed
WHERE
    publications.date = rehashed.date
    AND publications.model = rehashed.model
    AND publications.lists_hash = rehashed.old_hash;
