-- Lines in quarantine say which day they are of, where that can be read in them.
ALTER TABLE staging.rejected_lines ADD COLUMN line_date date;
