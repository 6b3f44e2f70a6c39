-- The figures of an entry are numbers that every reader of JSON has: no NaN and no infinity, which JSON says as words,
-- and none beyond 2^53 - 1, which JavaScript rounds. A product's id may be any word. Rows that are there are not looked
-- at: it takes no lock for long.

ALTER TABLE models.candidates
ADD CONSTRAINT figures_are_numbers_of_json CHECK (
    NOT jsonb_path_exists(
        entry::jsonb - 'product_id',
        '$.* ? (@ == "NaN" || @ == "Infinity" || @ == "-Infinity" || @ > 9007199254740991 || @ < -9007199254740991)'
    )
) NOT VALID;
