-- models.candidates: Ranked, not yet published.
-- Grain: log day, model, advertiser, rank
-- Source: a file of sql/models: the rows that it selects are in pg_temp.ranked.
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
-- An entry has the columns in the order in which the model selects them, but the advertiser, whose list it is, and
-- the score, which is one of its figures.
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
