"""The formats of what is kept, and which of them this version reads.

A format's number goes up by one when a version writes what the version before cannot read. Each version reads the
number before its own, too, so that an update needs no conversion. A higher number is refused by everything that reads,
before it changes anything: it was written by a later version, and half of it would be misunderstood.
"""

from dataclasses import dataclass

from configs.versions.program import program_version


class FormatError(Exception):
    """Something was written in a format that this version does not read; the message says what to do."""


@dataclass(frozen=True)
class Format:
    """The format of one kind of kept thing.

    Attributes:
        what: its name in messages.
        current: the number that this version writes.
        oldest: the lowest number that it reads.
    """

    what: str
    current: int
    oldest: int

    def check(self, found: object, where: object, written_by: object = None) -> None:
        """Raise `FormatError` unless this version reads the format.

        Args:
            found: the number as it was read; anything but a number is refused, too.
            where: the file, folder or store, for the message.
            written_by: the version of the program that wrote it, where that is known.
        """
        number = found if type(found) is int else None  # True is no number here
        if number is not None and self.oldest <= number <= self.current:
            return
        reads = f"format {self.current}" if self.oldest == self.current else f"formats {self.oldest} to {self.current}"
        this = f"this is Raycommend {program_version()}, which reads {reads}"
        if number is None:
            raise FormatError(f"{where}: the format of {self.what} must be a number, and is {found!r}; {this}")
        writer = "" if not isinstance(written_by, str) else f", written by Raycommend {written_by}"
        if number > self.current:
            todo = (
                "run the version that wrote it, or a later one; to go back, restore a backup of the older version "
                "into an empty state folder"
            )
        else:
            todo = "run a version in between first, which reads both"
        raise FormatError(f"{where}: {self.what} of format {number}{writer}; {this}: {todo}")


STATE = Format("a state folder", current=2, oldest=1)
"""The folder as a whole: the event log, the API keys that were known last, records of processes, MLflow's database."""
STORE = Format("an online store", current=2, oldest=1)
BUNDLE = Format("a model bundle", current=2, oldest=1)
BACKUP = Format("a backup", current=2, oldest=1)
