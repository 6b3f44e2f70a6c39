"""The system on AWS: the template, the Airflow machine, and what `make deploy` and its companions run."""
