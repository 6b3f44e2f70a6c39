-- Which object on S3 a published list was written as, so that one which is not there, or is another, is written again.

ALTER TABLE staging.published_files ADD COLUMN etag text;
