-- marts.recommendations: Published top-20 lists of all models.
-- Grain: log day, model, advertiser, rank. Freshness: see marts.publications
-- Source: models.candidates; models.builds, marts.publications and staging.source_objects say which lists are published
-- already, and whether the day was delivered anew; models.unlisted which products are on no list.
-- Parameters: ds, the log day; models, the names of all current models.
-- date: Log day that the list was made from, UTC
-- model: Model name: TopCTR, TopProduct, ...
-- advertiser_id: Advertiser, active on the day
-- rank: 1 is the best; 1 to 20 without a gap
-- product_id: Product of the advertiser
-- score: What the model ranks by first (TopCTR: clicks / impressions; TopProduct: views)
-- entry: The list entry as the API serves it: rank, product_id, the model's figures. Typed columns: the view of the
-- model
--
-- Lists that are already published, to the last row, are left untouched, so that a rerun changes nothing. A list of a
-- model that is not among today's stays while the day stands on the objects that it was made from; delivered anew, the
-- day is what today's files make of it. All of the model's lists of the day go when one names what is hidden now:
-- nothing ranks them again.
-- NOT IN is read once and hashed; NOT EXISTS is joined, and the planner, which knows nothing of the day, reads it again
-- for each row.
WITH present AS (
    SELECT
        published.model,
        count(*) AS row_count
    FROM marts.recommendations AS published
    WHERE published.date = %(ds)s::date
    GROUP BY published.model
)

DELETE FROM marts.recommendations
WHERE
    recommendations.date = %(ds)s::date
    AND recommendations.model NOT IN (
        SELECT builds.model
        FROM models.builds
        INNER JOIN marts.publications
            ON
                builds.date = publications.date
                AND builds.model = publications.model
                AND builds.lists_hash = publications.lists_hash
        INNER JOIN present
            ON
                builds.model = present.model
                AND builds.row_count = present.row_count
        WHERE
            builds.date = %(ds)s::date
            AND builds.model = any(%(models)s)
        UNION ALL
        SELECT publications.model
        FROM marts.publications
        WHERE
            publications.date = %(ds)s::date
            AND publications.model <> all(%(models)s)
            AND publications.sources = (
                SELECT
                    jsonb_agg(
                        to_jsonb(source_objects) - 'date' ORDER BY source_objects.source, source_objects.uri
                    ) AS objects
                FROM staging.source_objects
                WHERE source_objects.date = %(ds)s::date
            )
            AND publications.model NOT IN (
                SELECT named.model
                FROM marts.recommendations AS named
                WHERE
                    named.date = %(ds)s::date
                    AND named.model <> all(%(models)s)
                    AND (named.advertiser_id, named.product_id) IN (
                        SELECT
                            unlisted.advertiser_id,
                            unlisted.product_id
                        FROM models.unlisted
                        WHERE unlisted.date = %(ds)s::date
                    )
            )
    );

INSERT INTO marts.recommendations (date, model, advertiser_id, rank, product_id, score, entry)
SELECT
    candidates.date,
    candidates.model,
    candidates.advertiser_id,
    candidates.rank,
    candidates.product_id,
    candidates.score,
    candidates.entry
FROM models.candidates
WHERE
    candidates.date = %(ds)s::date
    AND candidates.model = any(%(models)s)
    AND candidates.model NOT IN (
        SELECT published.model
        FROM marts.recommendations AS published
        WHERE published.date = %(ds)s::date
    );
