"""As much of a Kubernetes API as Helm asks before it makes anything: which Secrets there are."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = {
    "v1": {
        "Secret": "secrets",
        "ConfigMap": "configmaps",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
        "PersistentVolumeClaim": "persistentvolumeclaims",
    },
    "apps/v1": {"StatefulSet": "statefulsets", "Deployment": "deployments"},
    "batch/v1": {"Job": "jobs", "CronJob": "cronjobs"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "ray.io/v1": {"RayService": "rayservices", "RayCronJob": "raycronjobs"},
}


class ClusterApi:
    """Serves on a free port.

    Attributes:
        secrets: the Secrets of the one namespace, name -> keys.
        asked: paths of all questions.
        written: all that was to be changed, which is refused.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.secrets: dict[str, set[str]] = {}
        self.asked: list[str] = []
        self.written: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def kubeconfig(self) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": address}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body for a question."""
        path = path.partition("?")[0]
        self.asked.append(path)
        groups = [version.split("/")[0] for version in KINDS if "/" in version]
        if path == "/version":
            return 200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
        if path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            names = [{"groupVersion": f"{group}/v1", "version": "v1"} for group in groups]
            found = [
                {"name": group, "versions": [one], "preferredVersion": one}
                for group, one in zip(groups, names, strict=True)
            ]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
        for version, kinds in KINDS.items():
            if path == (f"/apis/{version}" if "/" in version else f"/api/{version}"):
                found = [
                    {"name": plural, "kind": kind, "namespaced": True, "verbs": ["get", "list"]}
                    for kind, plural in kinds.items()
                ]
                return 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": found}
        if path == f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default":
            return 200, {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        secrets = f"/api/v1/namespaces/{self.namespace}/secrets"
        if path == secrets:  # those of Helm's own records
            return 200, {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []}
        name = path.removeprefix(f"{secrets}/")
        if name in self.secrets:
            data = dict.fromkeys(self.secrets[name], "eA==")
            return 200, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}, "data": data}
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        return 404, status

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                status, content = api.answer(self.path)
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _refuse(self) -> None:
                api.written.append(f"{self.command} {self.path}")
                self.send_response(405)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                self._refuse()

            def do_PUT(self) -> None:
                self._refuse()

            def do_PATCH(self) -> None:
                self._refuse()

            def do_DELETE(self) -> None:
                self._refuse()

        return Handler
