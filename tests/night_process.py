"""The steps of one day in a process of their own, for tests that kill it. Settings are in the environment."""

import sys

import boto3
import psycopg2

from elt import following, sql, steps
from elt.settings import load_settings

day = sys.argv[1]
settings, s3 = load_settings(), boto3.client("s3")
assert settings.database_url
url = settings.database_url.get_secret_value()


def connect():
    return psycopg2.connect(url)


print("ready", flush=True)
steps.filter_events(day, connect, s3, settings, run_id="process")
for model in sql.models():
    steps.build_model(day, model, connect, s3, settings)
following.finish(day, sql.models(), connect, lambda: s3, settings, run_id="process")
