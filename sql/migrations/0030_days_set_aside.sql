-- Which days' counts are set aside, told without a look at the counts: what sql/staging/days_set_aside.sql says.

CREATE TABLE staging.days_set_aside (
    date date NOT NULL PRIMARY KEY
);

INSERT INTO staging.days_set_aside (date)
SELECT DISTINCT product_daily_published.date
FROM staging.product_daily_published;
