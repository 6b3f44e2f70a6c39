-- Candidates: what the model tasks rank, before it is audited and published. One relation for all models, so that a new
-- model needs no DDL, and one place for the rules that every list obeys.

CREATE TABLE models.candidates (
    date date NOT NULL,
    model text NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    rank smallint NOT NULL CONSTRAINT rank_is_1_to_20 CHECK (rank BETWEEN 1 AND 20),
    product_id text COLLATE "C" NOT NULL,
    score double precision NOT NULL,
    entry json NOT NULL,
    CONSTRAINT a_rank_is_given_once PRIMARY KEY (date, model, advertiser_id, rank),
    CONSTRAINT a_product_is_listed_once UNIQUE (date, model, advertiser_id, product_id)
);
COMMENT ON TABLE models.candidates IS 'Ranked, not yet published. Grain: log day, model, advertiser, rank';
COMMENT ON COLUMN models.candidates.date IS 'Log day, UTC';
COMMENT ON COLUMN models.candidates.model IS 'Model name, as the first line of its file in sql/models says';
COMMENT ON COLUMN models.candidates.advertiser_id IS 'Advertiser whose list it is';
COMMENT ON COLUMN models.candidates.rank IS '1 is the best; 1 to 20 without a gap';
COMMENT ON COLUMN models.candidates.product_id IS 'Product of the advertiser';
COMMENT ON COLUMN models.candidates.score IS 'What the model ranks by first; its unit is the model''s';
COMMENT ON COLUMN models.candidates.entry IS 'List entry as the API serves it: rank, product_id, the model''s figures';

CREATE TABLE models.builds (
    date date NOT NULL,
    model text NOT NULL,
    load_id uuid NOT NULL,
    sql_file text NOT NULL,
    sql_version text NOT NULL,
    lists_hash text NOT NULL,
    row_count bigint NOT NULL,
    advertiser_count bigint NOT NULL,
    PRIMARY KEY (date, model)
);
COMMENT ON TABLE models.builds IS 'What each set of candidates was made of. Grain: log day, model';
COMMENT ON COLUMN models.builds.date IS 'Log day, UTC';
COMMENT ON COLUMN models.builds.model IS 'Model name';
COMMENT ON COLUMN models.builds.load_id IS 'The load of the day that the model read (staging.loads)';
COMMENT ON COLUMN models.builds.sql_file IS 'The model''s file, relative to the project';
COMMENT ON COLUMN models.builds.sql_version IS 'SHA-256 of the file''s text';
COMMENT ON COLUMN models.builds.lists_hash IS 'MD5 of all entries in order: equal hashes mean equal lists';
COMMENT ON COLUMN models.builds.row_count IS 'Candidates';
COMMENT ON COLUMN models.builds.advertiser_count IS 'Advertisers with at least one candidate';
