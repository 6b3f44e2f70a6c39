#!/bin/sh
# recommendations-airflow ARGUMENTS: Airflow's command line on its machine, as the services see the world.
exec systemd-run --quiet --pipe --wait --collect --uid=airflow \
    --property=EnvironmentFile=/opt/recommendations/current/deploy/airflow.env \
    --property=EnvironmentFile=/run/recommendations/settings.env \
    --property=EnvironmentFile=/run/recommendations/secrets.env \
    /opt/recommendations/current/.venv/bin/airflow "$@"
