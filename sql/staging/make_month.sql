-- staging.make_month: The day has a partition to be written into, until the transaction ends: its month is made where
-- it lacks.
-- Grain: none, it returns nothing.
-- Source: staging.months.
-- Freshness: a function: FiltrarDatos calls it before it writes a day's counts; whatever else writes days, before.
-- Parameters: of_date, the log day.
--
-- It has the rights of who owns the tables: who writes days may make no tables. While the day is written no month is
-- dropped, since that waits for this lock. Two that need the same new month: the second waits until the first has it.
-- Not CREATE TABLE ... PARTITION OF, which lets nobody read the table meanwhile.
CREATE OR REPLACE FUNCTION staging.make_month(of_date date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent regclass;
    first_day date := make_date(extract(YEAR FROM of_date)::integer, extract(MONTH FROM of_date)::integer, 1);
    name text;
BEGIN
    IF of_date IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'staging.make_month: of_date is null; it is a log day, YYYY-MM-DD';
    END IF;
    LOCK TABLE ONLY staging.product_daily, ONLY marts.recommendations IN ACCESS SHARE MODE;
    FOREACH parent IN ARRAY ARRAY['staging.product_daily', 'marts.recommendations']::regclass[] LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM staging.months
            WHERE months.relation = parent AND months.first_day <= of_date AND of_date < months.end_day
        );
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
        CONTINUE WHEN EXISTS (
            SELECT FROM staging.months
            WHERE months.relation = parent AND months.first_day <= of_date AND of_date < months.end_day
        );
        name := (SELECT relname FROM pg_class WHERE oid = parent) || to_char(first_day, '_YYYY_MM');
        EXECUTE format('CREATE TABLE months.%I (LIKE %s INCLUDING ALL)', name, parent);
        EXECUTE format(
            'ALTER TABLE %s ATTACH PARTITION months.%I FOR VALUES FROM (%L) TO (%L)',
            parent, name, first_day, (first_day + interval '1 month')::date
        );
    END LOOP;
END
$$
