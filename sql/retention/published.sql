-- What readers see of the days in pg_temp.expired goes: lists and figures. Listeners are told: the days that there are
-- have changed.
-- Parameters: none.
DELETE FROM marts.evaluation
WHERE evaluation.date IN (SELECT expired.date FROM pg_temp.expired);

DELETE FROM marts.advertiser_evaluation
WHERE advertiser_evaluation.date IN (SELECT expired.date FROM pg_temp.expired);

DELETE FROM marts.daily
WHERE daily.date IN (SELECT expired.date FROM pg_temp.expired);

DELETE FROM marts.advertiser_daily
WHERE advertiser_daily.date IN (SELECT expired.date FROM pg_temp.expired);

DELETE FROM marts.model_agreement
WHERE model_agreement.date IN (SELECT expired.date FROM pg_temp.expired);

DELETE FROM marts.list_variation
WHERE list_variation.date IN (SELECT expired.date FROM pg_temp.expired);

DELETE FROM marts.list_changes
WHERE list_changes.date IN (SELECT expired.date FROM pg_temp.expired);

DELETE FROM marts.recommendations
WHERE recommendations.date IN (SELECT expired.date FROM pg_temp.expired);

DELETE FROM marts.active_advertisers
WHERE active_advertisers.date IN (SELECT expired.date FROM pg_temp.expired);

WITH forgotten AS (
    DELETE FROM marts.publications
    WHERE publications.date IN (SELECT expired.date FROM pg_temp.expired)
    RETURNING publications.date, publications.model
)

SELECT
    pg_notify(
        'recommendations_published',
        json_build_object('date', forgotten.date, 'model', forgotten.model)::text
    ) AS notified
FROM forgotten;
