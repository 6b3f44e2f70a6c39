-- What tells a whole day from a part of one, and how much of a delivery belongs to the days beside it.

ALTER TABLE staging.accounting
ADD COLUMN advertisers bigint,
ADD COLUMN day_before bigint,
ADD COLUMN day_after bigint;
