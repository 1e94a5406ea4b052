"""How the HTTP functions answer."""

from typing import Literal

from pydantic import Field

from configs.decay import TRENDING_WINDOW, Window
from configs.groups.group import Group


class Serving(Group):
    """How the HTTP functions answer."""

    profile: Literal["laptop", "production"] = Field(
        "laptop",
        description="laptop: one replica of each function; production: at least two, so that none is missed",
    )
    host: str = "127.0.0.1"
    candidates: int = Field(100, ge=1, le=1000, description="candidates that retrieval hands to ranking")
    exploration: float = Field(
        0.0, ge=0, le=1, description="share of lists whose last place goes to a random candidate"
    )
    max_in_flight: int = Field(200, ge=1, description="requests a replica works on; one more gets 503")
    cache_size: int = Field(10_000, ge=0, description="lists that a ranking replica remembers")
    cache_bytes: int = Field(64_000_000, ge=0, description="bytes that these lists use together, at most")
    cache_age_s: float = Field(60.0, gt=0, description="age at which a remembered list is made anew all the same")
    deadline_s: float = Field(2.0, gt=0, description="a request not answered by then gets 504")
    watch_s: float = Field(0.25, gt=0, le=0.5, description="how often a replica looks for new models and items")
    trending_window: Window = Field(TRENDING_WINDOW, description="half-life of what is trending; a preset decides it")
    trending_s: float = Field(1.0, gt=0, description="how often a replica refreshes the trending list")
    near_cells: int = Field(
        2_000_000, ge=32_768, description="cells of 12 bytes in which a model counts what is taken up within minutes"
    )
    prior_weight: float = Field(0.5, ge=0, description="pull of the mean user vector, times the regularisation")
    log_share: float = Field(0.0, ge=0, le=1, description="share of requests that get a line in the log")
    max_body_bytes: int = Field(65_536, ge=1024)
    max_batch_bytes: int = Field(4_194_304, ge=1024, description="body limit of /events/batch")
