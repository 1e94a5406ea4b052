"""What columns are called in other people's tables, and how well a name fits."""

import re
from collections.abc import Iterable

_SUFFIX = re.compile(r"_?(identifier|id|ids|no|nr|num|number|key|code|ref|hash|uuid|guid|idx|index)$")
_ROOTS: dict[str, tuple[str, ...]] = {
    "user_id": (
        *("user", "customer", "household", "member", "visitor", "client", "account", "buyer", "shopper", "subscriber"),
        *("person", "reader", "listener", "viewer", "student", "learner", "player", "guest", "profile", "reviewer"),
        *("consumer", "cust", "applicant", "candidate", "patient", "cookie", "device", "author"),
        *("kunde", "kunden", "kundennr", "kundennummer", "benutzer", "nutzer"),
    ),
    "item_id": (
        *("item", "product", "sku", "movie", "film", "asin", "article", "book", "isbn", "track", "song", "video"),
        *("course", "job", "game", "recipe", "content", "listing", "offer", "news", "show", "restaurant", "business"),
        *("poi", "stock", "stockcode", "upc", "ean", "gtin", "anime", "artist", "post", "venue", "podcast", "lesson"),
        *("hotel", "property", "app", "material", "prod", "vacancy", "episode", "document", "page", "story", "goods"),
        *("artikel", "artikelnr", "artikelnummer", "produkt", "ware"),
    ),
    "time": (
        *("timestamp", "time", "datetime", "date", "unix", "ts", "created_at", "created", "when", "event_time"),
        *("unixreviewtime", "reviewtime", "invoicedate", "orderdate", "purchased_at", "occurred_at", "moment", "day"),
        *("datum", "zeit", "zeitpunkt", "uhrzeit", "zeitstempel", "fecha", "data_hora"),
        *("at", "updated_at", "utc", "viewed_at", "clicked_at", "watched_at", "timestamp_ms", "unixtime"),
    ),
    "event_type": (
        *("event", "event_type", "type", "action", "behavior", "behaviour", "behavior_type", "interaction", "kind"),
        *("activity", "interaction_type", "action_type", "event_name", "eventtype", "verb"),
        *("typ", "art", "aktion", "ereignis", "vorgang", "aktivitaet"),
    ),
    "value": (
        *("rating", "score", "stars", "overall", "value", "sales_value", "revenue", "amount", "price", "total"),
        *("watch_seconds", "duration", "seconds", "quantity", "qty", "unit_price", "play_duration", "watch_time"),
        *("betrag", "umsatz", "preis", "bewertung", "menge"),
    ),
    "title": ("title", "name", "product_name", "item_name", "movie_title", "product_title", "headline", "label"),
    "categories": (
        *("categories", "category", "genres", "genre", "department", "product_category", "category_name", "class"),
        *("tags", "topics", "topic", "section", "main_category", "category_path", "subject", "product_type"),
    ),
    "year": ("year", "release_year", "published_year", "publication_year"),
    "added": ("added", "added_at", "added_ms", "created_at", "published_at", "release_date", "listed_at"),
}
_IDS = ("user_id", "item_id")
FLAGS = frozenset(("true", "false", "t", "f", "yes", "no", "y", "n"))
CONTEXT = frozenset(
    (
        *(
            "country",
            "city",
            "region",
            "state",
            "store",
            "shop",
            "branch",
            "currency",
            "device",
            "device_type",
            "browser",
        ),
        *("platform", "os", "language", "locale", "gender", "sex", "age_group", "payment", "payment_method", "channel"),
        *("brand", "colour", "color", "size", "source", "campaign", "segment", "unit", "zip", "weekday"),
    )
)
"""Names of columns that say something of a row, but not what happened."""
RATINGS = ("rating", "score", "stars", "overall")
SPENT = ("sales", "amount", "price", "revenue", "quantity", "qty", "total", "basket", "invoice", "order")
WATCHED = ("watch", "watched", "duration", "seconds")
SYNONYMS: dict[str, tuple[str, ...]] = {
    "view": ("view", "views", "pageview", "page_view", "pv", "detail", "product_view", "impression", "visit", "viewed"),
    "click": ("click", "clicks", "clicked", "open", "tap"),
    "like": ("like", "liked", "thumbs_up", "upvote", "heart", "love"),
    "dislike": ("dislike", "thumbs_down", "downvote", "disliked"),
    "rating": ("rating", "rate", "rated", "review"),
    "add_to_cart": ("add_to_cart", "addtocart", "cart", "basket", "add_to_basket", "add-to-cart", "add to cart"),
    "purchase": ("purchase", "buy", "order", "transaction", "bought", "checkout", "sale", "purchased", "ordered"),
    "share": ("share", "shared", "forward"),
    "watch": ("watch", "play", "played", "stream", "watched", "listen"),
    "complete": ("complete", "completed", "finish", "finished"),
    "apply": ("apply", "applied", "enroll", "enrol", "enrolled", "application"),
    "save": ("save", "saved", "bookmark", "favorite", "favourite", "fav", "wishlist", "add_to_wishlist"),
    "search": ("search", "query"),
}
UNMISTAKABLE = frozenset(("view", "click", "like", "dislike", "rating", "add_to_cart", "purchase", "watch"))
"""Types whose words hardly say anything else of a row; `complete`, `save` or `search` may."""
_BY_WORD = {word: name for name, words in SYNONYMS.items() for word in words}
_OTHER_UNITS = frozenset(
    (
        *("days", "day", "weeks", "months", "years", "hours", "hour", "hrs", "minutes", "minute", "mins", "min"),
        *("ms", "msec", "millis", "milliseconds", "us", "micros", "percent", "pct", "ratio", "share", "count"),
    )
)
"""Words of a column's name that say that its numbers are no seconds."""
_DOCUMENTS = ("order", "invoice", "basket", "ordered", "purchase", "purchased", "bought")
_OF_DOCUMENTS = frozenset(("id", "no", "nr", "num", "number", "key", "code", "line", "value", *_ROOTS["time"]))
_KNOWN = frozenset(
    part
    for word in (
        *(root for roots in _ROOTS.values() for root in roots),
        *(word for found in SYNONYMS.values() for word in found),
        *(*SPENT, *WATCHED, *RATINGS, *_DOCUMENTS, *_OF_DOCUMENTS, *_OTHER_UNITS),
    )
    for part in re.split(r"[\W_]+", word)
) - {""}


def fit(column: str, role: str) -> int:
    """How well a column's name fits a role: 3 it is the name itself, 2 a known one, 1 it has a known word, 0 none."""
    name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")
    roots = _ROOTS[role]
    if name in (role, role.removesuffix("_id")):
        return 3
    stem = _SUFFIX.sub("", name).strip("_")
    if name in roots or stem in roots:
        return 2
    if role in _IDS or role in ("time", "event_type", "value"):
        parts = set(name.split("_")) | set(stem.split("_"))
        return int(any(root in parts or _ends_with(parts, root) for root in roots))
    return int(role in ("title", "categories") and any(name.endswith(f"_{root}") for root in roots[:4]))


def words(column: str) -> list[str]:
    """The words of a column's name: between signs, and known ones that are written together, as in watchedseconds."""
    parts = [part for part in re.split(r"[\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column).lower()) if part]
    return [word for part in parts for word in _known_words(part) or [part]]


def has_word(column: str, wanted: Iterable[str]) -> bool:
    """Whether one of the words of a column's name, in the singular or plural, is a wanted one."""
    return not {form for word in words(column) for form in (word, word.removesuffix("s"))}.isdisjoint(wanted)


def says_spent(column: str) -> bool:
    """Whether a column's name says that its rows are bought: an amount, or an order's number or date; the position in
    an order, or its colour, says nothing."""
    found = [word.removesuffix("s") for word in words(column)]
    if has_word(column, (word for word in SPENT if word not in _DOCUMENTS)):
        return True
    return not set(found).isdisjoint(_DOCUMENTS) and set(found) <= {*_DOCUMENTS, *_OF_DOCUMENTS}


def says_seconds(column: str) -> bool:
    """Whether a column may hold seconds: its name says no other unit."""
    return _OTHER_UNITS.isdisjoint(words(column))


def _known_words(part: str) -> list[str]:
    """The known words, as few and long as may be, that a part of a name consists of; empty where there are none."""
    if part in _KNOWN or part.removesuffix("s") in _KNOWN:
        return [part]
    for end in range(len(part) - 2, 1, -1):
        if part[:end] in _KNOWN and (rest := _known_words(part[end:])):
            return [part[:end], *rest]
    return []


def _ends_with(parts: set[str], root: str) -> bool:
    """Whether a part is written together with the root, as bestelldatum and useremail; candidate holds no date."""
    return len(root) > 3 and any(
        part.startswith(root) or part.endswith(root) for part in parts if part not in _KNOWN or part == root
    )


def our_type(word: str) -> str | None:
    """Our event type for a word of other people's data."""
    name = re.sub(r"[\s-]+", "_", word.strip().lower())
    return _BY_WORD.get(name) or _BY_WORD.get(name.replace("_", ""))


def attribute_name(column: str) -> str:
    """A column's name in the form that attributes have."""
    name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:40]
    return name if name[:1].isalpha() else f"a_{name}"[:40]
