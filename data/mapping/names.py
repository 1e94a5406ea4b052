"""What columns are called in other people's tables, and how well a name fits."""

import re

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
WATCHED = ("watch", "duration", "seconds")
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
        words = set(name.split("_")) | set(stem.split("_"))
        return int(any(root in words or (len(root) > 3 and root in name) for root in roots))
    return int(role in ("title", "categories") and any(name.endswith(f"_{root}") for root in roots[:4]))


def our_type(word: str) -> str | None:
    """Our event type for a word of other people's data."""
    name = re.sub(r"[\s-]+", "_", word.strip().lower())
    return _BY_WORD.get(name) or _BY_WORD.get(name.replace("_", ""))


def attribute_name(column: str) -> str:
    """A column's name in the form that attributes have."""
    name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:40]
    return name if name[:1].isalpha() else f"a_{name}"[:40]
