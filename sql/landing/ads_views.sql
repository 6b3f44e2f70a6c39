-- pg_temp.ads_views: The log of ad impressions and clicks as delivered.
-- Grain: identical impressions or clicks, as many as lines says; each is an event of its own
-- Source: S3 ads_views; where its lines repeat, by way of pg_temp.pages (count_lines.sql).
-- Parameters: none.
--
-- The columns without a default are what the header must name; a line that breaks a constraint is rejected under the
-- constraint's name.
--
-- Blanks around an id are not of it (event_counts takes them away): spaces, tabs, line ends, no-break spaces. Of most
-- ids the first character tells that something is left of them; trimming every one takes a tenth of the landing.
--
-- A date is a day in figures, with or without a time of day, and no word such as yesterday, which PostgreSQL would
-- read, too. It is as delivered, but for a time of day that tells nothing of the day (elt/lines.py): a time with an
-- offset is of the day that it was in UTC. That PostgreSQL can read it is not asked where lines are copied directly,
-- into a table that inherits this one: counting reads every date.
-- Constraints are checked in the order of their names: what does not begin with a day is not read.
CREATE TEMPORARY TABLE ads_views (
    advertiser_id text COLLATE "C" NOT NULL
    CONSTRAINT advertiser_id_is_not_1_to_64_bytes CHECK (
        (ascii(advertiser_id) > 32 AND ascii(advertiser_id) <> 160 AND octet_length(advertiser_id) <= 64)
        OR octet_length(btrim(advertiser_id, E' \t\r\n\u00a0')) BETWEEN 1 AND 64
    ),
    product_id text COLLATE "C" NOT NULL
    CONSTRAINT product_id_is_not_1_to_64_bytes CHECK (
        (ascii(product_id) > 32 AND ascii(product_id) <> 160 AND octet_length(product_id) <= 64)
        OR octet_length(btrim(product_id, E' \t\r\n\u00a0')) BETWEEN 1 AND 64
    ),
    type text COLLATE "C" NOT NULL
    CONSTRAINT type_is_not_impression_or_click CHECK (type IN ('impression', 'click')),
    date text COLLATE "C" NOT NULL
    CONSTRAINT date_does_not_begin_with_a_day CHECK (
        date LIKE '____-__-__%%' OR date ~ '^\s*(\d{8}|\d{1,4}([-/.])(\d{1,2}|[A-Za-z]{3,9})\2\d{1,4})'
    )
    CONSTRAINT date_is_not_finite CHECK (isfinite(date::timestamptz)) NO INHERIT,
    lines integer NOT NULL DEFAULT 1
);
