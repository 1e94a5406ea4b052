"""How many replicas the load wants, by what Serve counts and what the replicas count."""

from typing import Any

from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from deployments.replica.autoscaling import IN_FLIGHT, by_requests_in_flight

DEPLOYMENT = DeploymentID(name="RankingDeployment", app_name="recommend")


def context(in_flight: list[float] | None, seen_by_serve: float = 0.0) -> AutoscalingContext:
    replicas = [ReplicaID(f"replica-{number}", DEPLOYMENT) for number in range(len(in_flight or []))]
    metrics: dict[str, Any] = {} if in_flight is None else {IN_FLIGHT: dict(zip(replicas, in_flight, strict=True))}
    return AutoscalingContext(
        deployment_id=DEPLOYMENT,
        deployment_name=DEPLOYMENT.name,
        app_name=DEPLOYMENT.app_name,
        current_num_replicas=max(len(replicas), 1),
        target_num_replicas=max(len(replicas), 1),
        running_replicas=replicas,
        total_num_requests=seen_by_serve,
        total_queued_requests=0.0,
        aggregated_metrics=metrics,
        raw_metrics=None,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=4,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=AutoscalingConfig(min_replicas=1, max_replicas=4, target_ongoing_requests=64),
    )


def test_each_replica_gets_as_many_requests_as_are_wanted() -> None:
    assert by_requests_in_flight(context([128.0])) == (2.0, {})
    assert by_requests_in_flight(context([16.0, 16.0])) == (0.5, {})


def test_what_goes_through_serve_counts_once() -> None:
    assert by_requests_in_flight(context([64.0], seen_by_serve=64.0))[0] == 1.0
    assert by_requests_in_flight(context([64.0], seen_by_serve=128.0))[0] == 2.0, "half of them wait"


def test_a_replica_that_has_not_reported_yet_counts_nothing() -> None:
    assert by_requests_in_flight(context(None))[0] == 0.0
