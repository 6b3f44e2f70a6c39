-- marts.change_version: A row of marts.publications came, changed or went: another version.
-- Grain: none, it returns nothing.
-- Source: the trigger of its name on marts.publications.
-- Freshness: a function, called in the transaction that publishes or forgets.
-- Parameters: none.
CREATE OR REPLACE FUNCTION marts.change_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE marts.version SET number = version.number + 1;
    RETURN NULL;
END
$$
