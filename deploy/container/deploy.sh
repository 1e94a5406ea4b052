#!/bin/sh
# What KubeRay does on Kubernetes: deploy the applications on a running Ray. Then train a model, where there is none.
set -eu
folder=$(dirname "$0")
config=$(mktemp)
sh "$folder/prepare.sh"
python -m deployments.local serve-config > "$config"
serve deploy "$config" --address "$RAYCOMMEND_AUTOPILOT_JOBS_ADDRESS"
python -m jobs.first_model
