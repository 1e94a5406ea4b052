"""How many replicas the load wants, where requests are answered without Serve's handling (`deployments.ingress`)."""

from typing import Any

from ray.serve.config import AutoscalingContext

IN_FLIGHT = "in_flight"


def by_requests_in_flight(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Replicas, so that each has `target_ongoing_requests`: Serve's default policy over Serve's own count and the
    replicas'. `serve_config.yaml` names this function; Serve applies bounds, delays and factors to what it returns.
    """
    by_replica = (context.aggregated_metrics or {}).get(IN_FLIGHT, {})
    requests = context.total_num_requests + sum(by_replica.values())
    assert context.config is not None
    return requests / context.config.get_target_ongoing_requests(), {}
