-- models.candidates: Ranked, not yet published.
-- Grain: log day, model, advertiser, rank
-- Source: a file of sql/models: the rows that it selects are in pg_temp.ranked; models.unlisted.
-- Freshness: each model's task; what it ranked before is deleted.
-- Parameters: ds, the log day; model.
-- date: Log day, UTC
-- model: Model name, as the first line of its file in sql/models says
-- advertiser_id: Advertiser whose list it is
-- rank: 1 is the best; 1 to 20 without a gap
-- product_id: Product of the advertiser
-- score: What the model ranks by first; its unit is the model's
-- entry: List entry as the API serves it: rank, product_id, the model's figures
--
-- The one place that leaves out what must not be listed: what is below it moves up, as many places as have gone above
-- it, and the list is cut at 20. Of what the model ranked nothing else is mended.
-- An entry has the columns in the order in which the model selects them, but the advertiser, whose list it is, and
-- the score, which is one of its figures.
-- Grouped, not joined: the planner expects one product on a list that has just been written.
CREATE TEMPORARY TABLE dropped ON COMMIT DROP AS
SELECT
    both_lists.advertiser_id,
    both_lists.product_id,
    min(both_lists.rank) AS rank
FROM (
    SELECT
        ranked.advertiser_id,
        ranked.product_id,
        ranked.rank
    FROM pg_temp.ranked
    UNION ALL
    SELECT
        unlisted.advertiser_id,
        unlisted.product_id,
        NULL AS rank
    FROM models.unlisted
    WHERE unlisted.date = %(ds)s::date
) AS both_lists
GROUP BY both_lists.advertiser_id, both_lists.product_id
HAVING count(both_lists.rank) BETWEEN 1 AND count(*) - 1;

DELETE FROM pg_temp.ranked
USING pg_temp.dropped
WHERE
    ranked.advertiser_id = dropped.advertiser_id
    AND ranked.product_id = dropped.product_id;

-- One below the other and counted on the way down, not joined: thousands of an advertiser may be excluded.
UPDATE pg_temp.ranked SET rank = ranked.rank - above.places
FROM (
    SELECT
        both_kinds.advertiser_id,
        both_kinds.rank,
        both_kinds.is_dropped,
        count(*) FILTER (WHERE both_kinds.is_dropped) OVER (
            PARTITION BY both_kinds.advertiser_id ORDER BY both_kinds.rank, both_kinds.is_dropped
        ) AS places
    FROM (
        SELECT
            ranked.advertiser_id,
            ranked.rank,
            FALSE AS is_dropped
        FROM pg_temp.ranked
        UNION ALL
        SELECT
            dropped.advertiser_id,
            dropped.rank,
            TRUE AS is_dropped
        FROM pg_temp.dropped
    ) AS both_kinds
) AS above
WHERE
    ranked.advertiser_id = above.advertiser_id
    AND ranked.rank = above.rank
    AND NOT above.is_dropped
    AND above.places > 0
    AND above.rank - above.places <= 20;

DELETE FROM pg_temp.ranked
WHERE ranked.rank > 20;

DELETE FROM models.candidates
WHERE
    candidates.date = %(ds)s::date
    AND candidates.model = %(model)s;

INSERT INTO models.candidates (date, model, advertiser_id, rank, product_id, score, entry)
SELECT
    %(ds)s::date AS date,
    %(model)s AS model,
    ranked.advertiser_id,
    ranked.rank,
    ranked.product_id,
    ranked.score,
    (
        SELECT
            (
                '{'
                || string_agg(to_json(figures.name)::text || ':' || figures.value::text, ',' ORDER BY figures.place)
                || '}'
            )::json
        FROM json_each(row_to_json(ranked.*)) WITH ORDINALITY AS figures (name, value, place)
        WHERE figures.name NOT IN ('advertiser_id', 'score')
    ) AS entry
FROM pg_temp.ranked
