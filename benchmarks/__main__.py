"""`make bench`: the measurements that the README quotes, one after another, against the running stack."""

from benchmarks import freshness, serving


def main() -> None:
    serving.main()
    freshness.main()


if __name__ == "__main__":
    main()
