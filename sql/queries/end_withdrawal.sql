-- The day is being published: the withdrawal that it was under, if any, ends. Without restored_by it must not.
-- Grain: withdrawal. Parameters: ds, the log day.
UPDATE marts.withdrawals
SET restored_at = now()
WHERE
    withdrawals.date = %(ds)s::date
    AND withdrawals.restored_at IS NULL
RETURNING withdrawals.restored_by, withdrawals.withdrawn_by, withdrawals.withdrawn_at, withdrawals.why
