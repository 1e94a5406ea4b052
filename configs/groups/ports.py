"""Settings of the ports on which the local stack listens."""

from pydantic import Field

from configs.groups.group import Group


class Ports(Group):
    """TCP ports of the local stack, all on the loopback address."""

    http: int = Field(8000, description="the API and the console (Ray Serve)")
    dashboard: int = Field(8265, description="Ray dashboard and jobs API")
    mlflow: int = Field(5000, description="MLflow server")
    store: int = Field(6390, description="online store (Valkey), when the stack starts its own")
    gcs: int = Field(6380, description="Ray head; its usual 6379 belongs to Redis")
    client: int = Field(10001, description="Ray client server")
    agent: int = Field(10002, description="Ray dashboard agent, HTTP")
    metrics: int = Field(10003, description="Ray's own Prometheus endpoint")
    haproxy_stats: int = Field(10004, description="HAProxy statistics page")
    haproxy_metrics: int = Field(10005, description="HAProxy's Prometheus endpoint")
    prometheus: int = Field(9090, description="Prometheus, when `make prometheus` runs it")
    replicas: int = Field(30000, description="first of the 200 ports on which Serve replicas listen")
    workers: int = Field(20000, description="first of the 1000 ports of Ray worker processes")
