"""The serving state: which version each slot serves, the rollout, the retraining in progress, what replicas report."""
