#!/bin/sh
# Starts cron_job.py protected. In a crontab:
#
#     PATH=/opt/app/venv/bin:/usr/bin:/bin
#     0 * * * * /opt/app/cron_script.sh /var/spool/reports
#
# Look at: PATH is set, because cron's own has no virtual environment on it. `exec` makes the script become the job, so that
# stopping the script stops the job.
set -eu
if [ $# -lt 1 ]; then
    echo "usage: cron_script.sh FOLDER [--jitter SECONDS]" >&2
    exit 2
fi
if ! command -v snapsafe >/dev/null; then
    echo "cron_script.sh: no snapsafe on PATH ($PATH); set PATH in the crontab" >&2
    exit 127
fi
exec snapsafe run python "$(dirname "$0")/cron_job.py" "$@"
