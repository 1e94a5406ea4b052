#!/bin/sh
# Checks settings and secrets, sets Ray's flags, and then becomes the command. What is missing is named, and nothing starts.
set -eu
python -m configs
eval "$(python -m deployments.local ray-flags)"
exec "$@"
