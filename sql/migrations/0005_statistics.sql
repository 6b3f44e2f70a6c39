-- Statistics of the published lists, measured on the lists themselves. DBWriting writes a day's with its lists, so that
-- readers need not compare every list with every other.

CREATE TABLE marts.list_changes (
    date date NOT NULL,
    model text NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    previous_date date NOT NULL,
    products smallint NOT NULL,
    replaced smallint NOT NULL,
    replaced_share double precision NOT NULL,
    PRIMARY KEY (date, model, advertiser_id)
);
COMMENT ON TABLE marts.list_changes IS
'How much of a list is new since the published day before. Grain: log day, model, advertiser with lists on both days';
COMMENT ON COLUMN marts.list_changes.date IS 'Log day of the list, UTC';
COMMENT ON COLUMN marts.list_changes.model IS 'Model name';
COMMENT ON COLUMN marts.list_changes.advertiser_id IS 'Advertiser';
COMMENT ON COLUMN marts.list_changes.previous_date IS 'The published day before';
COMMENT ON COLUMN marts.list_changes.products IS 'Products on the list';
COMMENT ON COLUMN marts.list_changes.replaced IS 'Products on it that were not on the list of the day before';
COMMENT ON COLUMN marts.list_changes.replaced_share IS 'replaced / products, 0 to 1';

CREATE TABLE marts.model_agreement (
    date date NOT NULL,
    advertiser_id text COLLATE "C" NOT NULL,
    model text NOT NULL,
    other_model text NOT NULL,
    common smallint NOT NULL,
    jaccard double precision NOT NULL,
    PRIMARY KEY (date, advertiser_id, model, other_model)
);
COMMENT ON TABLE marts.model_agreement IS
'How far two models agree. Grain: log day, advertiser, pair of models that both have a list for it';
COMMENT ON COLUMN marts.model_agreement.date IS 'Log day, UTC';
COMMENT ON COLUMN marts.model_agreement.advertiser_id IS 'Advertiser';
COMMENT ON COLUMN marts.model_agreement.model IS 'The model whose name sorts first';
COMMENT ON COLUMN marts.model_agreement.other_model IS 'The other model';
COMMENT ON COLUMN marts.model_agreement.common IS 'Products on both lists';
COMMENT ON COLUMN marts.model_agreement.jaccard IS 'Products on both lists / products on either, 0 to 1';
