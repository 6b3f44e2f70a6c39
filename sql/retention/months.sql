-- What is left of months of which no day is kept: their counts and lists, which nobody reads any more.
-- In a transaction of its own, after that of sql/retention/days.sql: readers wait for it, a moment each month.
-- Parameters: none.
SELECT staging.drop_months() AS dropped;
