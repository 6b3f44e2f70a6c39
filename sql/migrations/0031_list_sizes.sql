-- The sizes of some advertisers' lists of a day, counted in a function: a statement that joins lists to a day opens
-- every month. What it does is in its file.
CREATE FUNCTION marts.list_sizes(of_date date, of_models text[], of_advertisers text[])
RETURNS TABLE (model text, advertiser_id text, products bigint)
LANGUAGE plpgsql STABLE AS 'BEGIN RETURN; END';
REVOKE ALL ON FUNCTION marts.list_sizes(date, text[], text[]) FROM public;
GRANT EXECUTE ON FUNCTION marts.list_sizes(date, text[], text[]) TO recommendations_api;
