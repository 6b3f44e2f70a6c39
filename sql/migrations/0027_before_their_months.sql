-- What grows by the day is to be kept in a partition a month: sql/staging/months.sql. This is the first of three steps
-- that each take a moment, or no lock that anybody waits for: what there is now will be the first partition, and has to
-- say of itself which days it may have. Rows that are there are not looked at yet.
--
-- Until a month after the next: nights go on before the third step.

DO $$
DECLARE
    relation regclass;
    newest date;
BEGIN
    FOREACH relation IN ARRAY ARRAY['staging.product_daily', 'marts.recommendations']::regclass[] LOOP
        EXECUTE format('SELECT greatest(max(date), current_date) FROM %s', relation) INTO newest;
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT before_its_months CHECK (date < %L) NOT VALID',
            relation,
            (date_trunc('month', newest::timestamp) + interval '2 months')::date
        );
    END LOOP;
END
$$;
