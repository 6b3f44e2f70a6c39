# The API and nothing else. Start: DATABASE_URL=... PORT=8080
FROM python:3.11-slim-bookworm AS build
COPY requirements/api.txt /tmp/requirements.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt \
    && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim-bookworm
RUN useradd --system --no-create-home --uid 10001 api
COPY --from=build /opt/venv /opt/venv
COPY VERSION /srv/VERSION
COPY api /srv/api
# The authorities of RDS's certificates, where `make deploy` puts them (deploy/ca/README.md).
COPY deploy/ca /srv/ca
WORKDIR /srv
USER 10001
ENV PORT=8080 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["/opt/venv/bin/python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health/live', timeout=2)"]
CMD ["/opt/venv/bin/python", "-m", "api"]
