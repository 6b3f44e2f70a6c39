-- May this process answer from memory, of which version, for how many seconds from before it asked. No parameters.
SELECT
    lease.granted,
    lease.version,
    lease.seconds
FROM marts.lease() AS lease
