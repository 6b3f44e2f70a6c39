-- pg_temp.active_advertisers: who is active on the day being loaded.
-- Grain: advertiser. Parameters: none.
-- Filled from the delivered list, in every session that filters a log by it.
CREATE TEMPORARY TABLE active_advertisers (
    advertiser_id text COLLATE "C" PRIMARY KEY
);
