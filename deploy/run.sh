#!/bin/sh
# On the machine, as the services see the world: recommendations-run PROGRAM ARGUMENTS, recommendations-airflow ARGUMENTS,
# recommendations-psql ARGUMENTS for the warehouse, and recommendations-owner PROGRAM ARGUMENTS as its owner.
case $0 in
*-airflow) set -- airflow "$@" ;;
*-owner) set -- python -m deploy.machine owner "$@" ;;
*-psql) set -- sh -c 'exec psql "$DATABASE_URL" "$@"' psql "$@" ;;
esac
exec systemd-run --quiet --pipe --wait --collect --uid=airflow \
    --property=EnvironmentFile=/opt/recommendations/current/deploy/airflow.env \
    --property=EnvironmentFile=/run/recommendations/settings.env \
    --property=EnvironmentFile=/run/recommendations/secrets.env \
    --setenv=PATH=/opt/recommendations/current/.venv/bin:/usr/bin:/bin \
    --property=WorkingDirectory=/opt/recommendations/current \
    /usr/bin/env "$@"
