"""Secrets for compose.yaml: `python deploy/container/make_secrets.py > deploy/container/.env`.

Prints lines for Compose's own file of variables, and the API key, which is kept nowhere, on the standard error.
"""

import hashlib
import json
import secrets
import sys

if __name__ == "__main__":
    key = secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    keys = json.dumps([{"name": "compose", "sha256": digest, "scopes": ["admin"]}])
    for name in ("STORE_PASSWORD", "MLFLOW_PASSWORD", "RAY_AUTH_TOKEN"):
        print(f"{name}={secrets.token_hex(32)}")
    print(f"RAYCOMMEND_SECURITY_KEYS='{keys}'")
    print(f"the API key, which is kept nowhere: {key}", file=sys.stderr)
