-- staging.months: The partitions of what grows by the day: a month each, by the log day.
-- Grain: partition
-- Source: the catalog, of staging.product_daily and marts.recommendations.
-- Freshness: a view: always what there is.
-- Parameters: none.
-- relation: The table
-- partition: The partition, a table of the schema months
-- first_day: Its first log day; -infinity: the partition that was the whole table before there were months
-- end_day: The first log day after it
SELECT
    pg_inherits.inhparent::regclass AS relation,
    pg_inherits.inhrelid::regclass AS partition,
    coalesce(
        substring(pg_get_expr(pg_class.relpartbound, pg_class.oid) FROM 'FROM \(''(.+?)''\)')::date, '-infinity'
    ) AS first_day,
    substring(pg_get_expr(pg_class.relpartbound, pg_class.oid) FROM 'TO \(''(.+?)''\)')::date AS end_day
FROM pg_inherits
INNER JOIN pg_class ON pg_inherits.inhrelid = pg_class.oid
WHERE
    pg_class.relispartition
    AND pg_class.relkind IN ('r', 'p')
    AND pg_inherits.inhparent IN ('staging.product_daily'::regclass, 'marts.recommendations'::regclass)
