"""The hands of the pipeline: S3 <-> COPY <-> PostgreSQL, and running the files in sql/. Knows no business rule."""
