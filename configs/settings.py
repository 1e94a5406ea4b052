"""Everything that can be set: one typed object, which is loaded once and passed in.

Values come, in rising order of precedence, from the defaults below, from the YAML file that
`RAYCOMMEND_CONFIG` names, and from environment variables: `RAYCOMMEND_<GROUP>_<FIELD>`, for example
`RAYCOMMEND_PORTS_HTTP=8080`. `REDIS_URL`, `MLFLOW_TRACKING_URI`, `DATA`, `ITEMS`, `USERS`, `MAP`,
`DATASET`, `PRESET` and `PROFILE` are read under their usual names.
"""

import os
import tempfile
import zlib
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from configs.addresses import without_credentials
from configs.decay import TRENDING_WINDOW, Window
from configs.groups.access import LOOPBACK, ApiKey, Security
from configs.groups.autopilot_limits import Alerts, AutopilotLimits
from configs.groups.data_settings import Data
from configs.groups.group import Group
from configs.groups.keeping import Keeping
from configs.groups.proxy import Proxy
from configs.groups.tracking import Tracing, Tracking
from configs.preset_settings import kept_preset, with_preset_of
from configs.store_users import StoreRole, own_address, own_url

PROJECT_DIR = Path(__file__).resolve().parent.parent
API_KEY_VARIABLE = "RAYCOMMEND_API_KEY"
__all__ = [
    "PROJECT_DIR",
    "Alerts",
    "ApiKey",
    "AutopilotLimits",
    "Data",
    "Group",
    "Keeping",
    "Ports",
    "Proxy",
    "Security",
    "Serving",
    "Settings",
    "SettingsError",
    "Store",
    "Tracing",
    "Tracking",
    "Training",
    "client_key",
    "load_settings",
]  # fmt: skip


class SettingsError(ValueError):
    """A setting is missing, misspelt or out of range; the message names it."""


class Ports(Group):
    """TCP ports of the local stack, all on the loopback address."""

    http: int = Field(8000, description="the API and the console (Ray Serve)")
    dashboard: int = Field(8265, description="Ray dashboard and jobs API")
    mlflow: int = Field(5000, description="MLflow server")
    store: int = Field(6390, description="online store (Valkey), when the stack starts its own")
    gcs: int = Field(6380, description="Ray head; its usual 6379 belongs to Redis")
    client: int = Field(10001, description="Ray client server")
    agent: int = Field(10002, description="Ray dashboard agent, HTTP")
    metrics: int = Field(10003, description="Ray's own Prometheus endpoint")
    haproxy_stats: int = Field(10004, description="HAProxy statistics page")
    haproxy_metrics: int = Field(10005, description="HAProxy's Prometheus endpoint")
    prometheus: int = Field(9090, description="Prometheus, when `make prometheus` runs it")
    replicas: int = Field(30000, description="first of the 200 ports on which Serve replicas listen")
    workers: int = Field(20000, description="first of the 1000 ports of Ray worker processes")


class Store(Group):
    """The online store (Redis protocol)."""

    url: str | None = Field(None, description="an outside Redis or Valkey; None starts the bundled Valkey")
    prefix: str = Field("rc", pattern=r"^[A-Za-z0-9_.-]{1,40}$", description="first part of every key")
    partitions: int = Field(16, ge=1, le=256, description="hash tags over which users spread; fixed at creation")
    timeout_s: float = Field(1.0, gt=0, description="longest wait for one answer of the store; of an event: deadline_s")
    job_timeout_s: float = Field(30.0, gt=0, description="the same for jobs, which have nobody waiting")
    disk_floor_mb: float = Field(
        512.0, ge=0, description="free space on the disk of a local store below which events are refused; 0 = never"
    )
    history_limit: int = Field(500, ge=1, le=5000, description="latest interactions kept per user for the model")
    seen_limit: int = Field(5000, ge=0, description="older item ids kept per user, only to exclude what was seen")
    dedupe_window_s: int = Field(86_400, ge=1, description="an event_id repeated within this time is a duplicate")
    max_future_s: int = Field(300, ge=0, description="how far ahead of the server's clock a timestamp may be")
    idle_user_days: int = Field(
        0,
        ge=0,
        description="all of a user idle for this long expires; an experiment counts who comes back as new; 0 = never",
    )
    max_exposures: int = Field(1_000_000, ge=0, description="exposures kept per partition between compactions")
    attribution_window_s: int = Field(86_400, ge=1, description="how long after a list an event can belong to it")
    attribution_lists: int = Field(10, ge=1, le=100, description="a user's latest lists to which events can belong")
    counted_lists: int = Field(
        100, ge=1, description="of a user the first lists, and ratings, that an experiment counts"
    )
    session_gap_s: int = Field(1800, ge=1, description="a longer pause between a user's lists begins a new session")
    clock_skew_s: int = Field(300, ge=0, description="how far before the user's first list an event may claim to be")


class Training(Group):
    """How a retraining learns, and what the gate asks of its model."""

    factors: int = Field(64, ge=2, le=512)
    trials: int = Field(8, ge=1, le=10_000)
    seed: int = 42
    threads: int = Field(0, ge=0, description="rows of users or items solved at once; 0 for all cores")
    search_space: Path | None = Field(None, description="a search space of your own, as configs/search_space.yaml")
    weighting: Literal["preference", "consumption"] = "preference"
    keep_bundles: int = Field(10, ge=2, description="bundles kept on disk; the slots' own are never removed")
    simulated: bool = Field(False, description="learn from simulated events too; for demonstrations")
    lock_s: float = Field(15.0, gt=0, description="how long a killed retraining keeps others from starting")
    ranker: bool = Field(True, description="train the second stage too; kept only where it helps")
    content: bool = Field(
        True, description="give new items vectors by what is written of them; kept only where it helps"
    )
    ranker_trees: int = Field(150, ge=1, le=5000)
    logged_lists: int = Field(
        5000,
        ge=0,
        description="most lists that were shown that the ranker learns from on each side of the latest window",
    )
    fewest_logged_lists: int = Field(
        2000,
        ge=1,
        description="lists before the latest window of which something was taken up; with fewer, none is used",
    )
    propensity_clip: float = Field(
        2.0, ge=1, description="largest weight of a shown item: 1 / the propensity with which it got its place"
    )
    trending_candidates: int = Field(50, ge=0, le=1000, description="candidates by decayed popularity for the ranker")
    margin: float = Field(0.0, description="NDCG@10 that a new model must win over the champion, on the same requests")
    fewest_judged_users: int = Field(
        20, ge=1, description="users with events since the champion's training; with fewer, nothing is promoted"
    )
    worst_loss: float = Field(
        0.02, ge=0, description="how far below that margin the interval of the difference may reach"
    )
    coverage_share: float = Field(0.7, ge=0, le=1, description="share of the champion's coverage that must remain")
    max_load_s: float = Field(30.0, gt=0, description="longest time to load and verify a new bundle")
    max_bundle_mb: float = Field(4096.0, gt=0)


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
    prior_weight: float = Field(0.5, ge=0, description="pull of the mean user vector, times the regularisation")
    log_share: float = Field(0.0, ge=0, le=1, description="share of requests that get a line in the log")
    max_body_bytes: int = Field(65_536, ge=1024)
    max_batch_bytes: int = Field(4_194_304, ge=1024, description="body limit of /events/batch")


class Settings(BaseSettings):
    """All settings; each group describes its fields."""

    model_config = SettingsConfigDict(
        env_prefix="RAYCOMMEND_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
    )

    state_dir: Path = Field(
        PROJECT_DIR / ".raycommend",
        validation_alias=AliasChoices("state_dir", "RAYCOMMEND_STATE_DIR"),
        description="everything the stack writes: store, registry, bundles, log, tokens",
    )
    data_dir: Path = Field(
        PROJECT_DIR / "data",
        validation_alias=AliasChoices("data_dir", "RAYCOMMEND_DATASET_DIR"),
        description="raw/ and processed/",
    )
    ports: Ports = Ports()
    store: Store = Store()
    tracking: Tracking = Tracking()
    data: Data = Data()
    training: Training = Training()
    serving: Serving = Serving()
    proxy: Proxy = Proxy()
    autopilot: AutopilotLimits = AutopilotLimits()
    keeping: Keeping = Keeping()
    alerts: Alerts = Alerts()
    tracing: Tracing = Tracing()
    security: Security = Security()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        config = os.environ.get("RAYCOMMEND_CONFIG")
        if config is None:
            return init_settings, env_settings
        if not Path(config).is_file():
            raise SettingsError(f"RAYCOMMEND_CONFIG names {config}, which is not a file")
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=config)

    @model_validator(mode="after")
    def _open_only_with_keys(self) -> "Settings":
        host = self.serving.host
        if host not in LOOPBACK and not self.security.asks:
            raise ValueError(
                f"serving.host is {host}, which others can reach: configure API keys first "
                "(python -m deployments.http.api_keys NAME), or stay on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> "Settings":
        taken: dict[int, str] = {}
        for name, port in self.ports.model_dump().items():
            if not 1024 <= port <= 65_000:
                raise ValueError(f"ports.{name} is {port}: choose one between 1024 and 65000")
            if port in taken:
                raise ValueError(f"ports.{name} and ports.{taken[port]} are both {port}")
            taken[port] = name
        return self

    @property
    def own_store(self) -> bool:
        """Whether the stack runs its own store. A shell that sourced `env` names that same one in REDIS_URL."""
        url = self.store.url
        return url is None or without_credentials(url) == own_address(self.ports.store)

    @property
    def store_url(self) -> str:
        return self.store_url_of("serving")

    def store_url_of(self, role: StoreRole) -> str:
        """Address of the store: as it is set or, of the stack's own, with the role's user and password."""
        if self.own_store:
            return own_url(self.state_dir, self.ports.store, role)
        assert self.store.url is not None
        return self.store.url

    @property
    def patient_store(self) -> Store:
        """The store's settings as jobs use them."""
        return self.store.model_copy(update={"timeout_s": self.store.job_timeout_s})

    @property
    def tracking_uri(self) -> str:
        return self.tracking.uri or f"http://127.0.0.1:{self.ports.mlflow}"

    @property
    def bundles_dir(self) -> Path:
        return self.state_dir / "bundles"

    @property
    def log_dir(self) -> Path:
        """The offline event log (Parquet)."""
        return self.state_dir / "log"

    @property
    def token_path(self) -> Path:
        return self.state_dir / "ray_token"

    @property
    def run_dir(self) -> Path:
        """Sockets and Ray's session: short, since a Unix socket path holds 107 characters."""
        tag = zlib.crc32(str(self.state_dir.resolve()).encode())
        return Path(tempfile.gettempdir()) / f"raycommend-{os.getuid()}-{tag:08x}"


def client_key() -> str | None:
    """The API key that jobs send to the running system; kept apart from the settings, which are written to disk."""
    return os.environ.get(API_KEY_VARIABLE, "").strip() or None


def load_settings(**overrides: object) -> Settings:
    """Read the settings. Raises `SettingsError` with one line for each bad setting."""
    named = {
        "REDIS_URL": ("store", "url"),
        "MLFLOW_TRACKING_URI": ("tracking", "uri"),
        "DATA": ("data", "source"),
        "ITEMS": ("data", "items"),
        "USERS": ("data", "users"),
        "MAP": ("data", "map"),
        "DATASET": ("data", "dataset"),
        "PRESET": ("data", "events"),
        "PROFILE": ("serving", "profile"),
    }
    for variable, (group, field) in named.items():
        value = os.environ.get(variable)
        if value:
            overrides = {**overrides, group: {**dict(overrides.get(group) or {}), field: value}}  # type: ignore[call-overload]
    try:
        found = with_preset(Settings(**overrides))  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [_bad_setting(item["loc"], item["msg"]) for item in error.errors()]
        raise SettingsError("bad setting: " + "; ".join(lines)) from error
    # The password in a sourced REDIS_URL stays in that shell: each process finds its own.
    return (
        found.model_copy(update={"store": found.store.model_copy(update={"url": None})}) if found.own_store else found
    )


def _bad_setting(place: tuple[int | str, ...], words: str) -> str:
    """ "ports.http: what is wrong with it"; a check of several settings names them itself."""
    name = ".".join(str(part) for part in place)
    words = words.removeprefix("Value error, ")
    return f"{name}: {words}" if name else words


def with_preset(settings: Settings) -> Settings:
    """The settings with the data set's preset, unless another is set, and with what that preset sets.

    Raises:
        SettingsError: the preset sets what is no setting.
    """
    try:
        return with_preset_of(settings, kept_preset(settings.data_dir / "processed"))
    except ValueError as error:
        raise SettingsError(str(error)) from error
