-- pg_temp.active_advertisers: Who is active on the day being loaded, each once.
-- Grain: advertiser
-- Source: pg_temp.advertiser_ids.
-- Parameters: none.
CREATE TEMPORARY TABLE active_advertisers (
    advertiser_id text COLLATE "C" PRIMARY KEY
);

INSERT INTO pg_temp.active_advertisers (advertiser_id)
SELECT DISTINCT btrim(advertiser_ids.advertiser_id, E' \t\r\n\u00a0')
FROM pg_temp.advertiser_ids;
