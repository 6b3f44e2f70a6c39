-- The active advertisers of the delivered list, each once.
-- Grain: advertiser. Parameters: none.
SELECT DISTINCT advertiser_ids.advertiser_id
FROM pg_temp.advertiser_ids
