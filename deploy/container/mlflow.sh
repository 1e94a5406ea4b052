#!/bin/sh
# MLflow behind the project's login; the password lies in mlflow_password of the state folder.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$root:$root/jobs/track/plugin"
exec mlflow server --host "${MLFLOW_HOST:-0.0.0.0}" --port "${MLFLOW_PORT:-5000}" --workers 1 \
    --serve-artifacts --app-name raycommend-login
