-- pg_temp.ads_views: The log of ad impressions and clicks as delivered.
-- Grain: identical impressions or clicks, as many as lines says; each is an event of its own
-- Source: S3 ads_views; where its lines repeat, by way of pg_temp.distinct_lines.
-- Parameters: none.
--
-- The columns without a default are what the header must name; a line that breaks a constraint is rejected under the
-- constraint's name.
CREATE TEMPORARY TABLE ads_views (
    advertiser_id text COLLATE "C" NOT NULL
    CONSTRAINT advertiser_id_is_not_1_to_64_bytes CHECK (octet_length(advertiser_id) BETWEEN 1 AND 64),
    product_id text COLLATE "C" NOT NULL
    CONSTRAINT product_id_is_not_1_to_64_bytes CHECK (octet_length(product_id) BETWEEN 1 AND 64),
    type text COLLATE "C" NOT NULL
    CONSTRAINT type_is_not_impression_or_click CHECK (type IN ('impression', 'click')),
    date date NOT NULL,
    lines integer NOT NULL DEFAULT 1
);
