-- The day may be published again: a run of it begins, or somebody restores it.
-- Grain: none, it returns nothing. Parameters: ds, the log day; restored_by.
UPDATE marts.withdrawals
SET restored_by = %(restored_by)s
WHERE
    withdrawals.date = %(ds)s::date
    AND withdrawals.restored_at IS NULL
