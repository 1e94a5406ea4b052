"""How many replicas the load wants, where requests bypass Serve's handling (`deployments.http.serve_bypass`)."""

from typing import Any

from ray.serve.config import AutoscalingContext

IN_FLIGHT = "in_flight"


def by_requests_in_flight(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Replicas, so that each has `target_ongoing_requests`. `serve_config.yaml` names this function; Serve applies
    bounds, delays and factors to what it returns.

    The replicas count what they work on, whichever way it came; Serve's count also has what waits in front of them. A
    request that goes through Serve is in both, so the larger one is taken.
    """
    by_replica = (context.aggregated_metrics or {}).get(IN_FLIGHT, {})
    requests = max(context.total_num_requests, sum(by_replica.values()))
    assert context.config is not None
    return requests / context.config.get_target_ongoing_requests(), {}
