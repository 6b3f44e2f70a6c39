-- On Citus: what the night works on is on the nodes, by advertiser; what readers read stays whole on the coordinator.
-- Grain: table that was distributed now; none the second time.
-- Parameters: none.
--
-- So a model ranks an advertiser where its counts are, and a publication is one PostgreSQL's commit.
-- What was in a table has been copied to the nodes; here it is of no use any more.
SELECT wanted.relation
FROM
    unnest(ARRAY[
        'staging.product_daily', 'staging.product_daily_published', 'staging.active_advertisers', 'models.candidates'
    ]) WITH ORDINALITY AS wanted (relation, place)
CROSS JOIN
    LATERAL create_distributed_table(
        wanted.relation::regclass,
        'advertiser_id',
        colocate_with => CASE wanted.place WHEN 1 THEN 'none' ELSE 'staging.product_daily' END
    )
CROSS JOIN LATERAL truncate_local_data_after_distributing_table(wanted.relation::regclass)
WHERE wanted.relation::regclass NOT IN (SELECT pg_dist_partition.logicalrelid FROM pg_dist_partition)
ORDER BY wanted.place
