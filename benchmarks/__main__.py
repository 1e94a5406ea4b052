"""`python -m benchmarks`: serving, then freshness, on the running stack. `make bench` measures serving alone."""

from benchmarks import freshness, serving


def main() -> None:
    serving.main()
    freshness.main()


if __name__ == "__main__":
    main()
