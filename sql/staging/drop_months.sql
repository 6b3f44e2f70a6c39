-- staging.drop_months: Months of which no day is loaded or published any more are dropped.
-- Grain: none, it returns nothing.
-- Source: staging.months, staging.loads, marts.publications.
-- Freshness: a function: the nightly run calls it after sql/retention/days.sql.
-- Parameters: none.
--
-- It has the rights of who owns the tables: who deletes days may drop no tables. It waits for a lock half a second at
-- most, since all readers wait behind it; then another night drops them.
CREATE OR REPLACE FUNCTION staging.drop_months() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    is_sure boolean := false;
    forgotten regclass[];
    month regclass;
BEGIN
    LOOP
        forgotten := array(
            SELECT months.partition
            FROM staging.months
            WHERE
                NOT EXISTS (
                    SELECT FROM staging.loads
                    WHERE loads.date >= months.first_day AND loads.date < months.end_day
                )
                AND NOT EXISTS (
                    SELECT FROM marts.publications
                    WHERE publications.date >= months.first_day AND publications.date < months.end_day
                )
        );
        EXIT WHEN is_sure OR forgotten = '{}';
        -- Who wrote a day of one (staging.make_month) has committed once this is had: hence the second look. Not of the
        -- months: who vacuums one that stays keeps no other from being dropped.
        LOCK TABLE ONLY staging.product_daily, ONLY marts.recommendations IN ACCESS EXCLUSIVE MODE;
        is_sure := true;
    END LOOP;
    FOREACH month IN ARRAY forgotten LOOP
        EXECUTE format('DROP TABLE %s', month);
    END LOOP;
EXCEPTION WHEN lock_not_available THEN
    RAISE NOTICE '% are not dropped this time: %', forgotten, SQLERRM;
END
$$
