-- What readers see of the days in pg_temp.expired goes: figures, and of those in pg_temp.expired_alone the lists.
-- Listeners are told: the days that there are have changed.
-- Parameters: none.
-- The days as an array: each is looked up by the index. With IN the planner, which knows nothing of a temporary table,
-- reads all tables whole.
DELETE FROM marts.evaluation
WHERE evaluation.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM marts.advertiser_evaluation
WHERE advertiser_evaluation.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM marts.daily
WHERE daily.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM marts.advertiser_daily
WHERE advertiser_daily.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM marts.model_agreement
WHERE model_agreement.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM marts.list_variation
WHERE list_variation.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM marts.list_changes
WHERE list_changes.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.product_daily_published
WHERE product_daily_published.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.days_set_aside
WHERE days_set_aside.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM marts.recommendations
WHERE recommendations.date = any(array(SELECT expired_alone.date FROM pg_temp.expired_alone));

DELETE FROM marts.active_advertisers
WHERE active_advertisers.date = any(array(SELECT expired.date FROM pg_temp.expired));

WITH forgotten AS (
    DELETE FROM marts.publications
    WHERE publications.date = any(array(SELECT expired.date FROM pg_temp.expired))
    RETURNING publications.date, publications.model
)

SELECT
    pg_notify(
        'recommendations_published',
        json_build_object('date', forgotten.date, 'model', forgotten.model)::text
    ) AS notified
FROM forgotten;
