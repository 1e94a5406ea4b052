"""One load test with `wrk`: a POST endpoint, a fixed number of connections, a fixed time, loopback only."""

import random
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """What one run measured; latencies in milliseconds."""

    connections: int
    requests: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def run_load(url: str, body_lua: str, connections: int, seconds: int) -> Load:
    """Send requests back to back on `connections` connections for `seconds`.

    Args:
        body_lua: a Lua expression for the body of request number `n`, for example `'{"user_id": ' .. n .. '}'`.
            Numbers go up by one from a start drawn for this run: runs have none in common, nor what they make cached.
        seconds: whole ones, as wrk wants them.

    Raises:
        RuntimeError: wrk is missing or its output is not understood.
        ValueError: the address is not on loopback.
    """
    if urlsplit(url).hostname != "127.0.0.1":
        raise ValueError(f"load goes to 127.0.0.1 only, not to {url}")
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("wrk is missing: install it (apt-get install wrk, brew install wrk)")
    start = random.randrange(1, 2**31)  # noqa: S311 - nothing secret
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_SCRIPT.replace("BODY", body_lua).replace("START", str(start)))
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
        output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    return parse_output(output, connections)


_SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local n = START
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, BODY)
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT requests=%d duration_us=%d errors=%d p50=%d p95=%d p99=%d\\n", summary.requests,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


def parse_output(output: str, connections: int) -> Load:
    """Read the line that the script writes at the end."""
    found = re.search(r"RESULT (.*)", output)
    if found is None:
        raise RuntimeError(f"wrk gave no result: {output[-500:]}")
    numbers = {name: int(value) for name, value in (pair.split("=") for pair in found.group(1).split())}
    return Load(
        connections=connections,
        requests=numbers["requests"],
        requests_per_s=numbers["requests"] / (numbers["duration_us"] / 1e6),
        p50_ms=numbers["p50"] / 1000,
        p95_ms=numbers["p95"] / 1000,
        p99_ms=numbers["p99"] / 1000,
        errors=numbers["errors"],
    )
