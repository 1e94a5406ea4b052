"""Exit code 0 where every address given answers 200, for probes and health checks.

Standard library only: `python3 -I -S answers.py URL ...` is up in a blink, and the image needs nothing else for it.
"""

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

TIMEOUT_S = 3.0


def main(urls: Sequence[str]) -> int:
    """Entry point; the first address that does not answer is named."""
    if not urls:
        print("answers: give at least one address", file=sys.stderr)
        return 2
    # A proxy named in the environment must not stand between a pod and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for url in urls:
        try:
            with opener.open(url, timeout=TIMEOUT_S) as answer:
                if answer.status != 200:
                    print(f"answers: {url}: {answer.status}", file=sys.stderr)
                    return 1
        except (OSError, ValueError) as error:
            print(f"answers: {url}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
