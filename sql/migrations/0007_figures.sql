-- Figures that readers ask for by day, counted once: by DBWriting, in the transaction that publishes the lists. So that
-- an answer reads a few rows, however many days there are.

ALTER TABLE marts.list_changes ADD COLUMN rank_weighted_change double precision;
COMMENT ON COLUMN marts.list_changes.rank_weighted_change IS
'1 - average overlap of the two lists, 0 (same products, same order) to 1: a change at the top weighs more. '
'Null: published before this was measured';

CREATE TABLE marts.list_variation (
    date date NOT NULL,
    model text NOT NULL,
    place integer NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    days smallint NOT NULL,
    replaced_share double precision NOT NULL,
    rank_weighted_change double precision,
    PRIMARY KEY (date, model, place, advertiser_id)
);
COMMENT ON TABLE marts.list_variation IS
'How much lists change from day to day, over the 7 published days that end with the date, most varying first. '
'Grain: log day, model, advertiser';
COMMENT ON COLUMN marts.list_variation.date IS 'Last of the 7 published days, UTC';
COMMENT ON COLUMN marts.list_variation.model IS 'Model name';
COMMENT ON COLUMN marts.list_variation.place IS
'1 varies most: by replaced_share, then rank_weighted_change, then advertiser_id (byte order)';
COMMENT ON COLUMN marts.list_variation.advertiser_id IS 'Advertiser';
COMMENT ON COLUMN marts.list_variation.days IS
'Changes from one published day to the next that the averages are over, 1 to 7';
COMMENT ON COLUMN marts.list_variation.replaced_share IS 'Average of marts.list_changes.replaced_share, 0 to 1';
COMMENT ON COLUMN marts.list_variation.rank_weighted_change IS
'Average of marts.list_changes.rank_weighted_change, 0 to 1';

ALTER TABLE marts.model_agreement ADD COLUMN rank_correlation double precision;
COMMENT ON COLUMN marts.model_agreement.rank_correlation IS
'Spearman''s rank correlation of the products on both lists, -1 to 1. Null: fewer than 2 in common';
CREATE INDEX model_agreement_most_first
ON marts.model_agreement (date, model, other_model, jaccard DESC, advertiser_id);

CREATE TABLE marts.advertiser_daily (
    date date NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    products bigint NOT NULL,
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    views bigint NOT NULL,
    PRIMARY KEY (date, advertiser_id)
);
COMMENT ON TABLE marts.advertiser_daily IS
'Events of an active advertiser on a published day. Grain: log day, advertiser on the active list';
COMMENT ON COLUMN marts.advertiser_daily.date IS 'Log day, UTC';
COMMENT ON COLUMN marts.advertiser_daily.advertiser_id IS 'Active advertiser; one without events has zeros';
COMMENT ON COLUMN marts.advertiser_daily.products IS 'Products with an event of any kind';
COMMENT ON COLUMN marts.advertiser_daily.impressions IS 'Ad impressions';
COMMENT ON COLUMN marts.advertiser_daily.clicks IS 'Ad clicks';
COMMENT ON COLUMN marts.advertiser_daily.views IS 'Views of product pages';

CREATE TABLE marts.daily (
    date date PRIMARY KEY,
    advertisers bigint NOT NULL,
    products bigint NOT NULL,
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    views bigint NOT NULL
);
COMMENT ON TABLE marts.daily IS 'Events of all active advertisers on a published day. Grain: log day';
COMMENT ON COLUMN marts.daily.date IS 'Log day, UTC';
COMMENT ON COLUMN marts.daily.advertisers IS 'Advertisers on the active list';
COMMENT ON COLUMN marts.daily.products IS 'Products with an event of any kind';
COMMENT ON COLUMN marts.daily.impressions IS 'Ad impressions';
COMMENT ON COLUMN marts.daily.clicks IS 'Ad clicks';
COMMENT ON COLUMN marts.daily.views IS 'Views of product pages';

CREATE TABLE marts.advertiser_evaluation (
    date date NOT NULL,
    model text NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    products smallint NOT NULL,
    products_shown smallint NOT NULL,
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    views bigint NOT NULL,
    all_impressions bigint NOT NULL,
    all_clicks bigint NOT NULL,
    all_views bigint NOT NULL,
    ctr double precision,
    advertiser_ctr double precision,
    expected_clicks double precision NOT NULL,
    lift double precision,
    click_share double precision,
    view_share double precision,
    smallest_expected double precision NOT NULL,
    meaningful boolean NOT NULL,
    PRIMARY KEY (date, model, advertiser_id)
);
COMMENT ON TABLE marts.advertiser_evaluation IS
'What became of an advertiser''s list: the events of the day after on the products it names, beside all of the '
'advertiser''s. Once the day after is published. Grain: log day of the list, model, advertiser active on both days';
COMMENT ON COLUMN marts.advertiser_evaluation.date IS 'Log day of the list, UTC; the events are those of date + 1';
COMMENT ON COLUMN marts.advertiser_evaluation.model IS 'Model name';
COMMENT ON COLUMN marts.advertiser_evaluation.advertiser_id IS 'Advertiser';
COMMENT ON COLUMN marts.advertiser_evaluation.products IS 'Products on the list';
COMMENT ON COLUMN marts.advertiser_evaluation.products_shown IS 'Those with an ad impression the day after';
COMMENT ON COLUMN marts.advertiser_evaluation.impressions IS 'Ad impressions of the listed products the day after';
COMMENT ON COLUMN marts.advertiser_evaluation.clicks IS 'Ad clicks on the listed products the day after';
COMMENT ON COLUMN marts.advertiser_evaluation.views IS 'Views of the listed products the day after';
COMMENT ON COLUMN marts.advertiser_evaluation.all_impressions IS
'Ad impressions of all products of the advertiser that day';
COMMENT ON COLUMN marts.advertiser_evaluation.all_clicks IS 'Ad clicks on all products of the advertiser that day';
COMMENT ON COLUMN marts.advertiser_evaluation.all_views IS 'Views of all products of the advertiser that day';
COMMENT ON COLUMN marts.advertiser_evaluation.ctr IS 'clicks / impressions; null without an impression';
COMMENT ON COLUMN marts.advertiser_evaluation.advertiser_ctr IS
'all_clicks / all_impressions; null without an impression';
COMMENT ON COLUMN marts.advertiser_evaluation.expected_clicks IS
'impressions * advertiser_ctr: clicks that as many impressions of average products would have had';
COMMENT ON COLUMN marts.advertiser_evaluation.lift IS
'clicks / expected_clicks: 1 is the advertiser''s average, 1.5 half as many again. Null: no click was to be expected';
COMMENT ON COLUMN marts.advertiser_evaluation.click_share IS 'clicks / all_clicks, 0 to 1; null without a click';
COMMENT ON COLUMN marts.advertiser_evaluation.view_share IS 'views / all_views, 0 to 1; null without a view';
COMMENT ON COLUMN marts.advertiser_evaluation.smallest_expected IS
'Expected count of the rarest of the four outcomes: on the list or not, clicked or not';
COMMENT ON COLUMN marts.advertiser_evaluation.meaningful IS
'smallest_expected is at least 5 (Cochran 1954): otherwise lift is mostly chance';

CREATE TABLE marts.evaluation (
    date date NOT NULL,
    model text NOT NULL,
    advertisers bigint NOT NULL,
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    views bigint NOT NULL,
    all_impressions bigint NOT NULL,
    all_clicks bigint NOT NULL,
    all_views bigint NOT NULL,
    ctr double precision,
    average_ctr double precision,
    expected_clicks double precision NOT NULL,
    lift double precision,
    click_share double precision,
    view_share double precision,
    smallest_expected double precision NOT NULL,
    meaningful boolean NOT NULL,
    PRIMARY KEY (date, model)
);
COMMENT ON TABLE marts.evaluation IS
'What became of a model''s lists: marts.advertiser_evaluation, all advertisers together. Once the day after is '
'published. Grain: log day of the lists, model';
COMMENT ON COLUMN marts.evaluation.date IS 'Log day of the lists, UTC; the events are those of date + 1';
COMMENT ON COLUMN marts.evaluation.model IS 'Model name';
COMMENT ON COLUMN marts.evaluation.advertisers IS 'Advertisers with a list, active on both days';
COMMENT ON COLUMN marts.evaluation.impressions IS 'Ad impressions of the listed products the day after';
COMMENT ON COLUMN marts.evaluation.clicks IS 'Ad clicks on the listed products the day after';
COMMENT ON COLUMN marts.evaluation.views IS 'Views of the listed products the day after';
COMMENT ON COLUMN marts.evaluation.all_impressions IS 'Ad impressions of all products of these advertisers that day';
COMMENT ON COLUMN marts.evaluation.all_clicks IS 'Ad clicks on all products of these advertisers that day';
COMMENT ON COLUMN marts.evaluation.all_views IS 'Views of all products of these advertisers that day';
COMMENT ON COLUMN marts.evaluation.ctr IS 'clicks / impressions; null without an impression';
COMMENT ON COLUMN marts.evaluation.average_ctr IS
'expected_clicks / impressions: the rate that average products of the same advertisers have';
COMMENT ON COLUMN marts.evaluation.expected_clicks IS
'Sum over the advertisers of impressions * the advertiser''s click-through rate that day';
COMMENT ON COLUMN marts.evaluation.lift IS
'clicks / expected_clicks: 1 is the advertisers'' average, 1.5 half as many again. Null: no click was to be expected';
COMMENT ON COLUMN marts.evaluation.click_share IS 'clicks / all_clicks, 0 to 1; null without a click';
COMMENT ON COLUMN marts.evaluation.view_share IS 'views / all_views, 0 to 1; null without a view';
COMMENT ON COLUMN marts.evaluation.smallest_expected IS
'Sum over the advertisers of the expected count of the rarest outcome';
COMMENT ON COLUMN marts.evaluation.meaningful IS
'smallest_expected is at least 5 (Cochran 1954): otherwise lift is mostly chance';
