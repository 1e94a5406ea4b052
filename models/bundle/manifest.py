"""What a bundle says about itself."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from configs.decay import TRENDING_WINDOW, Window
from configs.event_types import Weighting
from configs.versions.formats import BUNDLE
from models.content.description import ContentField
from models.factors.als import AlsParameters
from models.ranking.ranker import RankerParameters
from models.relations.more_sources import NO_MORE, MoreSources
from models.sequence.parameters import SequenceParameters

IdType = Literal["int", "str"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataFacts(_Part):
    """The data that a model was trained on."""

    name: str
    fingerprint: str = Field(description="sha256 over the imported data set and the part of the event log used")
    n_interactions: int = Field(ge=0, description="events, imported and logged")
    last_ms: int = Field(description="time of the latest event, milliseconds since the epoch")
    log_events: int = Field(default=0, ge=0, description="how many of the events came from the offline log")


class IndexFacts(_Part):
    """The item index as it was measured when the bundle was built."""

    kind: Literal["flat", "ivf"]
    recall: float = Field(ge=0, le=1, description="the smallest over the depths that are measured")
    probes: int | None = Field(None, ge=1, description="lists searched, for the kind ivf")


class RankerFacts(_Part):
    """The learned ranker beside the factors."""

    features_hash: str = Field(
        description="hash over the names and meaning of its features, see models.ranking.features"
    )
    parameters: RankerParameters
    lists: int = Field(ge=1, description="past requests that it learned from")
    attribute_features: tuple[str, ...] = Field(
        default=(), description="features that attributes give, behind those that features_hash stands for"
    )
    candidates: int = Field(ge=1, description="candidates by the factors in each list that it learned from")
    trending: int = Field(ge=0, description="candidates by decayed popularity that followed them")
    trending_window: Window = Field(default=TRENDING_WINDOW, description="half-life of that popularity, in serving too")
    more: MoreSources = Field(default=NO_MORE, description="candidates of the further sources that follow those")
    logged_lists: int = Field(default=0, ge=0, description="lists that were shown that it learned from too")
    logged_fingerprint: str | None = Field(
        default=None, description="sha256 over those lists and which of their items were taken up"
    )


class ContentFacts(_Part):
    """How new items get a vector from what is written of them."""

    fields: tuple[ContentField, ...] = Field(description="attributes that are read beside title, year and categories")


class SequenceFacts(_Part):
    """The network that turns the sequence of a user's events into a vector; items.npz holds the item vectors."""

    parameters: SequenceParameters
    rounds: int = Field(ge=1, description="rounds of training that it is the outcome of")


class ManifestFields(_Part):
    """What the training knows; the rest of a `Manifest` follows from the arrays."""

    parameters: AlsParameters | None = Field(description="of the factors; None for a sequence model")
    weighting: Weighting
    event_preset: str
    seed: int
    user_id_type: IdType
    item_id_type: IdType
    data: DataFacts
    metrics: dict[str, float] = Field(default_factory=dict, description="offline evaluation; undefined ones are absent")
    index: IndexFacts
    ranker: RankerFacts | None = Field(None, description="None where lists are served in the order of retrieval")
    content: ContentFacts | None = Field(None, description="None where new items stand by their categories alone")
    sequence: SequenceFacts | None = Field(None, description="None where vectors are folded in")


class Manifest(ManifestFields):
    """`manifest.json` of a bundle."""

    format: int = Field(default=BUNDLE.current, ge=BUNDLE.oldest, le=BUNDLE.current)
    written_by: str | None = Field(default=None, description="version of the program; None for one of format 1")
    version: str = Field(pattern=r"^\d{8}-\d{6}-[0-9a-f]{8}$")
    created_ms: int
    content_hash: str = Field(pattern=r"^[0-9a-f]{64}$", description="over arrays and parameters, not over time")
    n_users: int = Field(ge=1)
    n_items: int = Field(ge=1)
    n_factors: int = Field(ge=1)
    files: dict[str, str] = Field(description="sha256 of each file beside the manifest")
