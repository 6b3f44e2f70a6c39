-- staging.rejected_lines: Quarantine: lines that could not be read, kept whole, of the newest attempt to load the day.
-- Grain: log day, line
-- Source: pg_temp.rejected_lines.
-- Freshness: FiltrarDatos, as soon as the logs have landed, whatever becomes of the day.
-- Parameters: ds, the log day.
-- date: Log day that was being loaded, UTC
-- source: advertiser_ids, exclusions, product_views or ads_views
-- uri: S3 URI of the object
-- line_number: Line in the object, the header being line 1
-- reason: Why PostgreSQL could not read it
-- line: The bytes, as delivered; encode(line, 'escape') shows them
-- line_date: The first date in the line, as the logs spell dates; null where none can be read
--
-- What is wrong with a line is seldom its date. It is searched in the text, since the line may have no columns, and
-- taken as it stands there, in whatever time zone.
DELETE FROM staging.rejected_lines
WHERE rejected_lines.date = %(ds)s::date;

INSERT INTO staging.rejected_lines (date, source, uri, line_number, reason, line, line_date)
WITH searched AS (
    SELECT
        rejected_lines.source,
        rejected_lines.uri,
        rejected_lines.line_number,
        regexp_match(encode(rejected_lines.line, 'escape'), '(?<!\d)([12]\d{3})-(\d\d)-(\d\d)(?!\d)') AS ymd,
        regexp_match(encode(rejected_lines.line, 'escape'), '(?<!\d)(\d\d?)/(\d\d?)/([12]\d{3})(?!\d)') AS dmy
    FROM pg_temp.rejected_lines
),

in_figures AS (
    SELECT
        searched.source,
        searched.uri,
        searched.line_number,
        coalesce(searched.ymd[1], searched.dmy[3])::integer AS year,
        coalesce(searched.ymd[2], searched.dmy[2])::integer AS month,
        coalesce(searched.ymd[3], searched.dmy[1])::integer AS day
    FROM searched
    WHERE searched.ymd IS NOT NULL OR (searched.dmy IS NOT NULL AND current_setting('datestyle') LIKE '%%DMY')
),

dated AS (
    SELECT
        in_figures.source,
        in_figures.uri,
        in_figures.line_number,
        make_date(in_figures.year, in_figures.month, 1) + in_figures.day - 1 AS line_date,
        in_figures.month
    FROM in_figures
    WHERE in_figures.month BETWEEN 1 AND 12 AND in_figures.day BETWEEN 1 AND 31
)

SELECT
    %(ds)s::date AS date,
    rejected_lines.source,
    rejected_lines.uri,
    rejected_lines.line_number,
    rejected_lines.reason,
    rejected_lines.line,
    dated.line_date
FROM pg_temp.rejected_lines
LEFT JOIN dated
    ON
        rejected_lines.source = dated.source
        AND rejected_lines.uri = dated.uri
        AND rejected_lines.line_number = dated.line_number
        AND extract(MONTH FROM dated.line_date) = dated.month;
