"""What an operator sees and decides: experiments, model versions, retraining, health, numbers.

Stored state -> `monitor`, `health`, `model_versions`, `experiments` -> views -> the `*_routes` that answer. A
decision goes the other way: request -> control -> one change in the store. `retraining` is the state machine of one
retraining; `ray_jobs` and `model_registry` speak to Ray and MLflow.
"""
