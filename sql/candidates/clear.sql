-- models.candidates: room for a new ranking of the day by the model.
-- Grain: log day, model, advertiser, rank. Parameters: ds, model.
DELETE FROM models.candidates
WHERE
    candidates.date = %(ds)s::date
    AND candidates.model = %(model)s
