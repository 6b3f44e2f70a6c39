-- Every line delivered is accounted for: delivered = kept + other day + inactive advertiser + rejected.
-- Parameters: ds. A row returned = the promise is broken.
SELECT
    accounting.source,
    accounting.delivered,
    accounting.kept,
    accounting.other_day,
    accounting.inactive,
    accounting.rejected
FROM staging.accounting
WHERE
    accounting.date = %(ds)s::date
    AND accounting.delivered
    <> accounting.kept + accounting.other_day + accounting.inactive + accounting.rejected
