-- Fails, as a division by zero, unless what readers see is of the version. Before a query, in one transaction and
-- snapshot with it: then the query is not answered either. Parameters: version.
SELECT 1 / (version.number = %(version)s::bigint)::integer AS yes
FROM marts.version
