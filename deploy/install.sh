#!/bin/bash
# Makes this Debian 12 machine run the release that this script lies in: packages, Python, databases, services.
# Run as root by recommendations-install (the instance's user data). Safe to run again: what is there stays, what is
# current is not touched. An upgrade installs beside and switches; a rollback finds its release still there.
set -euo pipefail
release=$(cd "$(dirname "$0")/.." && pwd)
base=/opt/recommendations
say() { echo "$(date --utc +%H:%M:%S) $*"; }

say "installing ${release##*/} on $(. /etc/os-release && echo "$PRETTY_NAME")"
python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    { echo "Python 3.11 is needed, as Debian 12 has it; this is $(python3 --version)" >&2; exit 1; }
[ -s "$release/deploy/ca/rds.pem" ] ||
    { echo "deploy/ca/rds.pem is missing from the release: make deploy puts it there" >&2; exit 1; }

id airflow >/dev/null 2>&1 || useradd --system --home-dir /var/lib/airflow --shell /usr/sbin/nologin airflow
install -d -o airflow -g airflow -m 0750 /var/lib/airflow /var/lib/airflow/logs

# Memory for the night's peak that no service needs all day. Containers share their host's swap.
if ! systemd-detect-virt --quiet --container && [ ! -e /swapfile ]; then
    fallocate --length 2G /swapfile && chmod 0600 /swapfile && mkswap --quiet /swapfile
    echo '/swapfile none swap sw 0 0' >>/etc/fstab
fi
if [ -e /swapfile ]; then swapon --show=NAME --noheadings | grep -qx /swapfile || swapon /swapfile; fi
install -D -m 0644 "$release/deploy/systemd/journald.conf" /etc/systemd/journald.conf.d/recommendations.conf
install -D -m 0644 "$release/deploy/systemd/tmpfiles.conf" /etc/tmpfiles.d/recommendations.conf

# One Python environment for all releases with the same pins.
venv=$base/venvs/$(sha256sum "$release/requirements/airflow.txt" | cut -c 1-12)
if [ ! -e "$venv/complete" ]; then
    say "installing Python packages into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --retries 10 --require-hashes \
        -r "$release/requirements/airflow.txt"
    touch "$venv/complete"
fi
ln -sfn "$venv" "$release/.venv"
before=$(readlink "$base/current" || true)
ln -sfn "$release" "$base/next"

say "settings, databases"
cd "$release"
set -a; . /etc/recommendations/machine.env; set +a
"$venv/bin/python" -m deploy.machine settings
"$venv/bin/python" -m deploy.machine databases

say "services"
units=$(cd deploy/systemd && ls ./*.service ./*.timer)
for unit in $units; do install -m 0644 "deploy/systemd/$unit" "/etc/systemd/system/$unit"; done
for name in airflow owner psql run; do install -m 0755 deploy/run.sh "/usr/local/sbin/recommendations-$name"; done
mv -T "$base/next" "$base/current"
systemctl daemon-reload
services="airflow-api-server.service airflow-scheduler.service airflow-dag-processor.service"
systemctl enable --quiet $services airflow-clean.timer recommendations-report.timer
systemctl restart $services
systemctl start airflow-clean.timer recommendations-report.timer

# As the tasks will see the world. What is wrong is said, and does not undo an installation: a bucket may come later.
say "checking what the night needs"
recommendations-run python -m elt check || say "python -m elt check found something WRONG, see above"

# Of old releases and their environments, the newest three stay to roll back to.
cd "$base/releases"
ls -1t | grep -v '\.part$' | tail -n +4 | while read -r old; do
    [ "$base/releases/$old" = "$release" ] || rm -rf -- "$old"
done
for venv in "$base"/venvs/*; do
    ls -l "$base"/releases/*/.venv | grep -q " $venv\$" || rm -rf -- "$venv"
done
say "done: $release runs${before:+, before it $before}"
