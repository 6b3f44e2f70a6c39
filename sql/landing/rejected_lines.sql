-- pg_temp.rejected_lines: Lines that could not be read, on their way to staging.rejected_lines.
-- Grain: line
-- Source: S3 advertiser_ids, S3 ads_views, S3 product_views, S3 exclusions.
-- Parameters: none.
CREATE TEMPORARY TABLE rejected_lines (
    source text NOT NULL,
    uri text NOT NULL,
    line_number bigint NOT NULL,
    reason text NOT NULL,
    line bytea NOT NULL
);
