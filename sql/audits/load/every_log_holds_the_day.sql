-- Each log has events of the day: a log without any was not delivered, or is another day's.
-- Parameters: ds. A row returned = the promise is broken.
SELECT
    accounting.source,
    accounting.delivered,
    accounting.other_day,
    accounting.rejected
FROM staging.accounting
WHERE
    accounting.date = %(ds)s::date
    AND accounting.kept + accounting.inactive = 0
