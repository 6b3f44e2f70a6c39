-- The day's month is there, before anything else is written; asked again by the transaction that writes, it stays.
-- Grain: one row. Parameters: ds, the log day.
-- On Citus a partition can not be made in a transaction in which another role than its owner writes to the nodes.
SELECT staging.make_month(%(ds)s::date) AS made
