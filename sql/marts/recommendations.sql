-- marts.recommendations: Published top-20 lists of all models.
-- Grain: log day, model, advertiser, rank. Freshness: see marts.publications
-- Source: models.candidates; models.builds and marts.publications say which lists are published already.
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
-- Lists that are already published are left untouched, so that a rerun changes nothing. A list of a model that no
-- longer exists goes: the day is what today's files make of it.
DELETE FROM marts.recommendations
WHERE
    recommendations.date = %(ds)s::date
    AND NOT EXISTS (
        SELECT 1
        FROM models.builds
        INNER JOIN marts.publications
            ON
                builds.date = publications.date
                AND builds.model = publications.model
                AND builds.lists_hash = publications.lists_hash
        WHERE
            builds.date = %(ds)s::date
            AND builds.model = recommendations.model
            AND builds.model = any(%(models)s)
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
    AND NOT EXISTS (
        SELECT 1
        FROM models.builds
        INNER JOIN marts.publications
            ON
                builds.date = publications.date
                AND builds.model = publications.model
                AND builds.lists_hash = publications.lists_hash
        WHERE
            builds.date = %(ds)s::date
            AND builds.model = candidates.model
    );
