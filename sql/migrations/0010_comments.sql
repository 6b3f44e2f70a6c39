-- Comments that say what is: days are also run without Airflow, and rows carry the time at which their writing began.

COMMENT ON COLUMN staging.loads.filter_version IS
'Content hash of sql/staging and of elt/land.py, and the date format of the logs';
COMMENT ON COLUMN staging.loads.run_id IS 'Run that loaded the day: of Airflow, or rebuild';
COMMENT ON COLUMN marts.publications.run_id IS 'Run that published: of Airflow, or rebuild';
COMMENT ON COLUMN marts.publications.published_at IS
'When these lists began to be written; readers see them a moment later, all at once';
COMMENT ON COLUMN marts.latest_day.published_at IS
'When these lists began to be written; readers see them a moment later, all at once';
