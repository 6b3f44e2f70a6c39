-- What analysts look for first.

CREATE VIEW marts.product_daily AS
SELECT
    product_daily.date,
    product_daily.advertiser_id,
    product_daily.product_id,
    product_daily.impressions,
    product_daily.clicks,
    product_daily.views,
    product_daily.clicks::double precision / nullif(product_daily.impressions, 0) AS ctr
FROM staging.product_daily
WHERE
    EXISTS (
        SELECT 1
        FROM marts.publications
        WHERE publications.date = product_daily.date
    );
COMMENT ON VIEW marts.product_daily IS
'Events of active advertisers, counted, of the published days. Grain: log day, advertiser, product with an event';
COMMENT ON COLUMN marts.product_daily.date IS 'Log day, UTC';
COMMENT ON COLUMN marts.product_daily.advertiser_id IS 'Advertiser, active on the day';
COMMENT ON COLUMN marts.product_daily.product_id IS 'Product of the advertiser';
COMMENT ON COLUMN marts.product_daily.impressions IS 'Ad impressions of the day; identical lines are separate events';
COMMENT ON COLUMN marts.product_daily.clicks IS
'Ad clicks of the day; may exceed impressions (clicked after midnight)';
COMMENT ON COLUMN marts.product_daily.views IS 'Views of the product''s page on the day';
COMMENT ON COLUMN marts.product_daily.ctr IS 'clicks / impressions; null without an impression';

CREATE VIEW marts.latest_recommendations AS
SELECT
    recommendations.date,
    recommendations.model,
    recommendations.advertiser_id,
    recommendations.rank,
    recommendations.product_id,
    recommendations.score,
    recommendations.entry
FROM marts.recommendations
WHERE recommendations.date = (SELECT max(publications.date) FROM marts.publications);
COMMENT ON VIEW marts.latest_recommendations IS
'The lists that the API serves now: those of the newest published day. Grain: model, advertiser, rank';
COMMENT ON COLUMN marts.latest_recommendations.date IS 'The newest published log day, UTC';
COMMENT ON COLUMN marts.latest_recommendations.model IS 'Model name';
COMMENT ON COLUMN marts.latest_recommendations.advertiser_id IS 'Advertiser, active on the day';
COMMENT ON COLUMN marts.latest_recommendations.rank IS '1 is the best; 1 to 20 without a gap';
COMMENT ON COLUMN marts.latest_recommendations.product_id IS 'Product of the advertiser';
COMMENT ON COLUMN marts.latest_recommendations.score IS 'What the model ranks by first; its unit is the model''s';
COMMENT ON COLUMN marts.latest_recommendations.entry IS 'The list entry as the API serves it';

CREATE VIEW marts.latest_day AS
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
WHERE publications.date = (SELECT max(newest.date) FROM marts.publications AS newest);
COMMENT ON VIEW marts.latest_day IS 'The newest published day at a glance. Grain: model';
COMMENT ON COLUMN marts.latest_day.date IS 'The newest published log day, UTC';
COMMENT ON COLUMN marts.latest_day.model IS 'Model name';
COMMENT ON COLUMN marts.latest_day.active_advertisers IS 'Advertisers on the day''s active list';
COMMENT ON COLUMN marts.latest_day.advertisers_with_list IS 'Advertisers with a list of the model';
COMMENT ON COLUMN marts.latest_day.advertisers_with_full_list IS 'Advertisers with 20 products on it';
COMMENT ON COLUMN marts.latest_day.list_entries IS 'Entries of all its lists';
COMMENT ON COLUMN marts.latest_day.replaced_share IS
'Average share of a list that was not on it the published day before, 0 to 1; null on the first day';
COMMENT ON COLUMN marts.latest_day.lift_of_yesterdays_lists IS
'marts.evaluation.lift of the lists of the day before, by this day''s events; null when they are not published';
COMMENT ON COLUMN marts.latest_day.lift_is_meaningful IS 'Were there clicks enough for that lift to mean something?';
COMMENT ON COLUMN marts.latest_day.impressions IS
'Ad impressions of the day, all active advertisers (the same for each model)';
COMMENT ON COLUMN marts.latest_day.clicks IS 'Ad clicks of the day, likewise';
COMMENT ON COLUMN marts.latest_day.views IS 'Views of the day, likewise';
COMMENT ON COLUMN marts.latest_day.sql_version IS 'SHA-256 of the model''s SQL; its text: marts.sql_versions';
COMMENT ON COLUMN marts.latest_day.git_revision IS 'Revision of the project that published';
COMMENT ON COLUMN marts.latest_day.published_at IS 'When these lists became visible';

CREATE VIEW marts.data_quality AS
SELECT
    source_objects.date,
    source_objects.source,
    count(*) AS objects,
    sum(source_objects.size_bytes)::bigint AS size_bytes,
    sum(source_objects.lines)::bigint AS delivered,
    accounting.kept,
    accounting.other_day,
    accounting.inactive,
    sum(source_objects.rejected)::bigint AS rejected,
    sum(source_objects.rejected)::double precision / nullif(sum(source_objects.lines), 0) AS rejected_share
FROM staging.source_objects
LEFT JOIN staging.accounting
    ON
        source_objects.date = accounting.date
        AND source_objects.source = accounting.source
GROUP BY
    source_objects.date, source_objects.source, accounting.kept, accounting.other_day, accounting.inactive;
COMMENT ON VIEW marts.data_quality IS
'Where every delivered line of a loaded day went: delivered = kept + other_day + inactive + rejected. '
'Grain: log day, source';
COMMENT ON COLUMN marts.data_quality.date IS 'Log day, UTC';
COMMENT ON COLUMN marts.data_quality.source IS 'advertiser_ids, product_views or ads_views';
COMMENT ON COLUMN marts.data_quality.objects IS 'S3 objects read';
COMMENT ON COLUMN marts.data_quality.size_bytes IS 'Their size on S3, bytes';
COMMENT ON COLUMN marts.data_quality.delivered IS 'Lines in them, without headers';
COMMENT ON COLUMN marts.data_quality.kept IS 'Lines of the day, of active advertisers; null for advertiser_ids';
COMMENT ON COLUMN marts.data_quality.other_day IS 'Lines of another day; null for advertiser_ids';
COMMENT ON COLUMN marts.data_quality.inactive IS
'Lines of the day, of advertisers not on its active list; null for advertiser_ids';
COMMENT ON COLUMN marts.data_quality.rejected IS 'Lines that could not be read; for a while in staging.rejected_lines';
COMMENT ON COLUMN marts.data_quality.rejected_share IS 'rejected / delivered, 0 to 1';
