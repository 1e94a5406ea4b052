#!/bin/sh
# The data set and the features, where they are not there yet. Any number of times.
set -eu
python -m data.prepare
python -m jobs.rebuild_features --if-empty
