#!/bin/sh
# On the machine, as the services see the world: recommendations-airflow ARGUMENTS, recommendations-run PROGRAM ARGUMENTS.
case $0 in *-airflow) set -- airflow "$@" ;; esac
exec systemd-run --quiet --pipe --wait --collect --uid=airflow \
    --property=EnvironmentFile=/opt/recommendations/current/deploy/airflow.env \
    --property=EnvironmentFile=/run/recommendations/settings.env \
    --property=EnvironmentFile=/run/recommendations/secrets.env \
    --setenv=PATH=/opt/recommendations/current/.venv/bin:/usr/bin:/bin \
    --property=WorkingDirectory=/opt/recommendations/current \
    /usr/bin/env "$@"
