-- On Citus: the nodes that have not committed what the coordinator has, or do not answer.
-- Grain: node. Parameters: none.
--
-- A commit is of the coordinator first, then each node is told; where that is lost, the node has the rows that were,
-- until Citus tells it again (citus.recover_2pc_interval, a minute). Until then it holds prepared what was to be done,
-- under a name that the coordinator has written down as committed.
SELECT
    asked.nodename || ':' || asked.nodeport AS node,
    CASE WHEN asked.success THEN 'has not committed yet' ELSE asked.result END AS said
FROM
    run_command_on_workers(
        $$SELECT coalesce(json_agg(gid), '[]') FROM pg_prepared_xacts WHERE database = current_database()$$
    ) AS asked
WHERE
    NOT asked.success
    OR EXISTS (
        SELECT 1
        FROM pg_dist_transaction
        WHERE asked.result LIKE '%%"' || pg_dist_transaction.gid || '"%%'
    )
ORDER BY asked.nodename ASC, asked.nodeport ASC
