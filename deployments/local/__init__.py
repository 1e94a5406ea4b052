"""The stack on one machine: settings -> checks (`preflight`) -> parts (`stack`) -> applications (`serve_control`).

`python -m deployments.local up` is what `make up` runs. It knows settings only, so it works where nothing runs yet.
"""
