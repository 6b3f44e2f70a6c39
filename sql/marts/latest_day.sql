-- marts.latest_day: The newest published day at a glance.
-- Grain: model
-- Source: marts.publications, marts.daily, marts.evaluation, marts.list_changes.
-- Freshness: a view: always what the tables say.
-- Parameters: none.
-- date: The newest published log day, UTC
-- model: Model name
-- active_advertisers: Advertisers on the day's active list
-- advertisers_with_list: Advertisers with a list of the model
-- advertisers_with_full_list: Advertisers with 20 products on it
-- list_entries: Entries of all its lists
-- replaced_share: Average share of a list that was not on it the published day before, 0 to 1; null on the first day
-- lift_of_yesterdays_lists: marts.evaluation.lift of the lists of the day before, by this day's events; null when they
-- are not published
-- lift_is_meaningful: Were there clicks enough for that lift to mean something?
-- impressions: Ad impressions of the day, all active advertisers (the same for each model)
-- clicks: Ad clicks of the day, likewise
-- views: Views of the day, likewise
-- sql_version: SHA-256 of the model's SQL; its text: marts.sql_versions
-- git_revision: Revision of the project that published
-- published_at: When these lists began to be written; readers see them a moment later, all at once
SELECT
    publications.date,
    publications.model,
    daily.advertisers AS active_advertisers,
    publications.advertiser_count AS advertisers_with_list,
    publications.full_list_count AS advertisers_with_full_list,
    publications.row_count AS list_entries,
    variation.replaced_share,
    evaluation.lift AS lift_of_yesterdays_lists,
    evaluation.meaningful AS lift_is_meaningful,
    daily.impressions,
    daily.clicks,
    daily.views,
    publications.sql_version,
    publications.git_revision,
    publications.published_at
FROM marts.publications
LEFT JOIN marts.daily ON publications.date = daily.date
LEFT JOIN marts.evaluation
    ON
        publications.date - 1 = evaluation.date
        AND publications.model = evaluation.model
LEFT JOIN LATERAL (
    SELECT avg(list_changes.replaced_share) AS replaced_share
    FROM marts.list_changes
    WHERE
        list_changes.date = publications.date
        AND list_changes.model = publications.model
) AS variation ON true
WHERE publications.date = (SELECT max(newest.date) FROM marts.publications AS newest)
