-- What a published day's counts were while it is loaded anew, so that readers see counts and lists change together; and
-- which published lists have been written to S3.

CREATE TABLE staging.product_daily_published (LIKE staging.product_daily INCLUDING ALL);

CREATE TABLE staging.published_files (
    date date NOT NULL,
    model text NOT NULL,
    lists_hash text NOT NULL,
    PRIMARY KEY (date, model)
);

-- NaN sorts above all numbers. Rows that are there are not looked at: it takes no lock for long.
ALTER TABLE models.candidates
ADD CONSTRAINT score_is_a_number CHECK (score > '-Infinity' AND score < 'Infinity') NOT VALID;
