"""Where it is written how far the import of a file into a store has come, and which of its rows were refused."""

from pathlib import Path

STATE_END, REPORT_END = ".json", "-refused.jsonl"


def ledger_of(folder: Path, stem: str, digest: str, store: str) -> tuple[Path, Path]:
    """The state of an import and its report.

    Another store has another ledger: an emptied one has none of the rows, whatever was imported into the one before.
    A ledger that an earlier version wrote names no store; the first import after the upgrade takes it for its own.

    Args:
        folder: that of the ledgers.
        stem, digest: the file's name without its ending, and the sha256 of what it holds.
        store: its identity (`features.redis.identity`).
    """
    found = []
    for end in (STATE_END, REPORT_END):
        earlier, ledger = folder / f"{stem}-{digest[:12]}{end}", folder / f"{stem}-{digest[:12]}-{store}{end}"
        if earlier.exists() and not ledger.exists():
            earlier.replace(ledger)
        found.append(ledger)
    return found[0], found[1]
