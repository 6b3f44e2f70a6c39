-- What readers see. DBWriting replaces a day here in one transaction; nothing else writes.

CREATE TABLE marts.recommendations (
    date date NOT NULL,
    model text NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    rank smallint NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    score double precision NOT NULL,
    entry json NOT NULL,
    PRIMARY KEY (date, model, advertiser_id, rank)
);
COMMENT ON TABLE marts.recommendations IS
'Published top-20 lists of all models. Grain: log day, model, advertiser, rank. Freshness: see marts.publications';
COMMENT ON COLUMN marts.recommendations.date IS 'Log day that the list was made from, UTC';
COMMENT ON COLUMN marts.recommendations.model IS 'Model name: TopCTR, TopProduct, ...';
COMMENT ON COLUMN marts.recommendations.advertiser_id IS 'Advertiser, active on the day';
COMMENT ON COLUMN marts.recommendations.rank IS '1 is the best; 1 to 20 without a gap';
COMMENT ON COLUMN marts.recommendations.product_id IS 'Product of the advertiser';
COMMENT ON COLUMN marts.recommendations.score IS
'What the model ranks by first (TopCTR: clicks / impressions; TopProduct: views)';
COMMENT ON COLUMN marts.recommendations.entry IS
'The list entry as the API serves it: rank, product_id, the model''s figures. Typed columns: the view of the model';

CREATE TABLE marts.active_advertisers (
    date date NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (date, advertiser_id)
);
CREATE INDEX active_advertisers_advertiser_id ON marts.active_advertisers (advertiser_id, date);
COMMENT ON TABLE marts.active_advertisers IS
'Advertisers on the active list of a published day. Grain: log day, advertiser';
COMMENT ON COLUMN marts.active_advertisers.date IS 'Log day, UTC';
COMMENT ON COLUMN marts.active_advertisers.advertiser_id IS 'Active advertiser';

CREATE TABLE marts.publications (
    date date NOT NULL,
    model text NOT NULL,
    row_count bigint NOT NULL,
    advertiser_count bigint NOT NULL,
    sql_file text NOT NULL,
    sql_version text NOT NULL,
    git_revision text NOT NULL,
    lists_hash text NOT NULL,
    load_id uuid NOT NULL,
    sources jsonb NOT NULL,
    accounting jsonb NOT NULL,
    run_id text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (date, model)
);
COMMENT ON TABLE marts.publications IS
'Which SQL and source objects made a day''s lists. Grain: log day, model. A rerun that changes nothing leaves it';
COMMENT ON COLUMN marts.publications.date IS 'Log day, UTC';
COMMENT ON COLUMN marts.publications.model IS 'Model name';
COMMENT ON COLUMN marts.publications.row_count IS 'List entries published';
COMMENT ON COLUMN marts.publications.advertiser_count IS 'Advertisers with a list';
COMMENT ON COLUMN marts.publications.sql_file IS 'The model''s file, relative to the project';
COMMENT ON COLUMN marts.publications.sql_version IS 'SHA-256 of the file''s text';
COMMENT ON COLUMN marts.publications.git_revision IS
'Revision of the project that published; -dirty: with local changes';
COMMENT ON COLUMN marts.publications.lists_hash IS 'MD5 of all entries in order: equal hashes mean equal lists';
COMMENT ON COLUMN marts.publications.load_id IS 'The load that the lists were made from';
COMMENT ON COLUMN marts.publications.sources IS 'Source objects: source, uri, etag, size_bytes, lines, rejected';
COMMENT ON COLUMN marts.publications.accounting IS 'Per log: delivered = kept + other_day + inactive + rejected';
COMMENT ON COLUMN marts.publications.run_id IS 'Airflow run that published';
COMMENT ON COLUMN marts.publications.published_at IS 'When these lists became visible';
