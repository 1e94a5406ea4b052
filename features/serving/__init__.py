"""The serving state: which version each slot serves, the rollout, the guard, the retraining in progress, what replicas
report. `serving_state` owns it. Whatever changes it (`promotion`, `rollout`, `retraining_run`, and experiments by
`features.experiments.changes`) goes through its one script, and `aliases` lets the registry follow."""
