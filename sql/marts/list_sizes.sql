-- marts.list_sizes: How many products the lists of some advertisers have on a day.
-- Grain: model, advertiser that has a list: model, advertiser_id, products.
-- Source: marts.recommendations.
-- Freshness: a function: always what the table says.
-- Parameters: of_date, of_models; of_advertisers, none of NULL.
--
-- A function for the reason that marts.list_of is one: joined, each month is opened. With the models, each list is
-- looked up; by the advertisers alone all lists of the day would be read.
CREATE OR REPLACE FUNCTION marts.list_sizes(
    of_date date,
    of_models text[],
    of_advertisers text[]
) RETURNS TABLE (
    model text,
    advertiser_id text,
    products bigint
)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- Most of those who ask may see all, and want none counted.
    IF of_advertisers IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT
        recommendations.model,
        recommendations.advertiser_id,
        count(*)
    FROM marts.recommendations
    WHERE
        recommendations.date = of_date
        AND recommendations.model = any(of_models)
        AND recommendations.advertiser_id = any(of_advertisers)
    GROUP BY recommendations.model, recommendations.advertiser_id;
END
$$
