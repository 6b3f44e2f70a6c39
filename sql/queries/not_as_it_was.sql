-- How the lists of a restored day differ from those that were withdrawn, for people.
-- Grain: model whose lists are others. Parameters: ds, the log day.
WITH withdrawn AS (
    SELECT withdrawals.lists
    FROM marts.withdrawals
    WHERE
        withdrawals.date = %(ds)s::date
        AND withdrawals.restored_at IS NOT NULL
    ORDER BY withdrawals.withdrawn_at DESC
    LIMIT 1
),

lists AS (
    SELECT
        was.model,
        was.list ->> 'lists_hash' AS was_hash,
        NULL AS now_hash
    FROM withdrawn
    CROSS JOIN LATERAL jsonb_each(withdrawn.lists) AS was (model, list)
    UNION ALL
    SELECT
        publications.model,
        NULL AS was_hash,
        publications.lists_hash AS now_hash
    FROM marts.publications
    WHERE publications.date = %(ds)s::date
)

SELECT
    lists.model || CASE
        WHEN max(lists.was_hash) IS NULL THEN ' (new)'
        WHEN max(lists.now_hash) IS NULL THEN ' (retired)'
        ELSE ' (ranked again)'
    END AS said
FROM lists
GROUP BY lists.model
HAVING max(lists.was_hash) IS DISTINCT FROM max(lists.now_hash)
ORDER BY lists.model
