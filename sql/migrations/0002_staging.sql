-- The durable part of staging: what is known of every loaded day. The raw lines themselves land in temporary tables
-- (sql/staging/*.sql) and stay in S3.

CREATE TABLE staging.loads (
    date date PRIMARY KEY,
    load_id uuid NOT NULL,
    filter_version text NOT NULL,
    run_id text NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE staging.loads IS 'The load that the day stands on. Grain: log day';
COMMENT ON COLUMN staging.loads.date IS 'Log day, UTC';
COMMENT ON COLUMN staging.loads.load_id IS 'New with every load; models.builds names the load that a build read';
COMMENT ON COLUMN staging.loads.filter_version IS 'Content hash of sql/staging, and the date format of the logs';
COMMENT ON COLUMN staging.loads.run_id IS 'Airflow run that loaded the day';
COMMENT ON COLUMN staging.loads.loaded_at IS 'When the load began to be written';

CREATE TABLE staging.source_objects (
    date date NOT NULL,
    source text NOT NULL,
    uri text NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    lines bigint NOT NULL,
    rejected bigint NOT NULL,
    PRIMARY KEY (date, source, uri)
);
COMMENT ON TABLE staging.source_objects IS 'The S3 objects that a day was loaded from. Grain: log day, object';
COMMENT ON COLUMN staging.source_objects.date IS 'Log day, UTC';
COMMENT ON COLUMN staging.source_objects.source IS 'advertiser_ids, product_views or ads_views';
COMMENT ON COLUMN staging.source_objects.uri IS 'S3 URI';
COMMENT ON COLUMN staging.source_objects.etag IS 'S3 ETag of the bytes that were read';
COMMENT ON COLUMN staging.source_objects.size_bytes IS 'Size on S3, bytes (compressed, where it is)';
COMMENT ON COLUMN staging.source_objects.lines IS 'Lines delivered, without the header';
COMMENT ON COLUMN staging.source_objects.rejected IS 'Lines that could not be read; they are in staging.rejected_lines';

CREATE TABLE staging.accounting (
    date date NOT NULL,
    source text NOT NULL,
    delivered bigint NOT NULL,
    kept bigint NOT NULL,
    other_day bigint NOT NULL,
    inactive bigint NOT NULL,
    rejected bigint NOT NULL,
    PRIMARY KEY (date, source)
);
COMMENT ON TABLE staging.accounting IS
'Where every delivered line went: delivered = kept + other_day + inactive + rejected. Grain: log day, log';
COMMENT ON COLUMN staging.accounting.date IS 'Log day, UTC';
COMMENT ON COLUMN staging.accounting.source IS 'product_views or ads_views';
COMMENT ON COLUMN staging.accounting.delivered IS 'Lines in the source objects, counted in the bytes, without headers';
COMMENT ON COLUMN staging.accounting.kept IS 'Lines of the day, of active advertisers';
COMMENT ON COLUMN staging.accounting.other_day IS 'Lines of another day (an object may hold many days)';
COMMENT ON COLUMN staging.accounting.inactive IS 'Lines of the day, of advertisers not on the day''s active list';
COMMENT ON COLUMN staging.accounting.rejected IS 'Lines that could not be read';

CREATE TABLE staging.rejected_lines (
    date date NOT NULL,
    source text NOT NULL,
    uri text NOT NULL,
    line_number bigint NOT NULL,
    reason text NOT NULL,
    line bytea NOT NULL,
    PRIMARY KEY (date, source, uri, line_number)
);
COMMENT ON TABLE staging.rejected_lines IS
'Quarantine: lines that could not be read, kept whole, of the newest attempt to load the day. Grain: log day, line';
COMMENT ON COLUMN staging.rejected_lines.date IS 'Log day that was being loaded, UTC';
COMMENT ON COLUMN staging.rejected_lines.source IS 'advertiser_ids, product_views or ads_views';
COMMENT ON COLUMN staging.rejected_lines.uri IS 'S3 URI of the object';
COMMENT ON COLUMN staging.rejected_lines.line_number IS 'Line in the object, the header being line 1';
COMMENT ON COLUMN staging.rejected_lines.reason IS 'Why PostgreSQL could not read it';
COMMENT ON COLUMN staging.rejected_lines.line IS 'The bytes, as delivered; encode(line, ''escape'') shows them';

CREATE TABLE staging.active_advertisers (
    date date NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (date, advertiser_id)
);
COMMENT ON TABLE staging.active_advertisers IS
'Who was active, as the list for the day says. Grain: log day, advertiser';
COMMENT ON COLUMN staging.active_advertisers.date IS 'Log day, UTC';
COMMENT ON COLUMN staging.active_advertisers.advertiser_id IS 'Advertiser on the list';

CREATE TABLE staging.product_daily (
    date date NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    views bigint NOT NULL,
    PRIMARY KEY (date, advertiser_id, product_id)
);
COMMENT ON TABLE staging.product_daily IS
'Events of active advertisers, counted: what models read. Grain: log day, advertiser, product with an event';
COMMENT ON COLUMN staging.product_daily.date IS 'Log day, UTC';
COMMENT ON COLUMN staging.product_daily.advertiser_id IS 'Active advertiser';
COMMENT ON COLUMN staging.product_daily.product_id IS 'Product of the advertiser';
COMMENT ON COLUMN staging.product_daily.impressions IS 'Ad impressions of the day; identical lines are separate events';
COMMENT ON COLUMN staging.product_daily.clicks IS
'Ad clicks of the day; may exceed impressions (clicked after midnight)';
COMMENT ON COLUMN staging.product_daily.views IS 'Views of the product''s page on the day';
