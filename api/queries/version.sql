-- Which version of what readers see is the current one, where there is no lease. No parameters.
SELECT version.number
FROM marts.version
