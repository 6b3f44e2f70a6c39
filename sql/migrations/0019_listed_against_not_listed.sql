-- What became of the lists, beside what became of the products that were on none. Null: evaluated before this was
-- counted.

ALTER TABLE marts.advertiser_evaluation
ADD COLUMN unlisted_ctr double precision,
ADD COLUMN unlisted_expected double precision,
ADD COLUMN listed_share double precision,
ADD COLUMN dead_slots smallint,
ADD COLUMN concentration double precision;

ALTER TABLE marts.evaluation
ADD COLUMN unlisted_ctr double precision,
ADD COLUMN advantage double precision,
ADD COLUMN advantage_low double precision,
ADD COLUMN advantage_high double precision,
ADD COLUMN listed_share double precision,
ADD COLUMN dead_slots bigint,
ADD COLUMN dead_share double precision,
ADD COLUMN concentration double precision,
ADD COLUMN without_list bigint;
