-- Waits, if the transaction has changed what is published, until nobody answers from memory any more: what it commits
-- next, all readers see at once.
-- No parameters. How long: marts.outwait_leases.
SELECT marts.outwait_leases()
FROM marts.version
WHERE version.xmin = pg_current_xact_id()::xid
