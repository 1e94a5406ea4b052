"""Everything that can be set: one typed object, which is loaded once and passed in.

Values come, in rising order of precedence, from the defaults below, from the YAML file that
`RAYCOMMEND_CONFIG` names, and from environment variables: `RAYCOMMEND_<GROUP>_<FIELD>`, for example
`RAYCOMMEND_PORTS_HTTP=8080`. Below the file lies the environment's own, where one is set (`configs.environments`).
`REDIS_URL`, `MLFLOW_TRACKING_URI`, `DATA`, `ITEMS`, `USERS`, `MAP`, `DATASET`, `PRESET` and `PROFILE` are read under
their usual names.
"""

import os
import tempfile
import zlib
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, YamlConfigSettingsSource
from pydantic_settings import PydanticBaseSettingsSource as Source

from configs import tracking_login
from configs.addresses import without_credentials
from configs.environments import environment as environments
from configs.groups.access import LOOPBACK, ApiKey, Security
from configs.groups.autopilot_limits import Alerts, AutopilotLimits
from configs.groups.data_settings import Data
from configs.groups.group import Group
from configs.groups.keeping import Keeping
from configs.groups.ports import Ports
from configs.groups.proxy import Proxy
from configs.groups.serving import Serving
from configs.groups.store import Store
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
    "ray_token",
]  # fmt: skip


class SettingsError(ValueError):
    """A setting is missing, misspelt or out of range; the message names it."""


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
    horizon_s: float | None = Field(
        None, gt=0, description="what so soon follows a visit's begin is right; None: 5 events"
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
    environment: environments.Environment | None = Field(None, description="a file of configs/environments/")
    secrets: tuple[environments.Secret, ...] = Field((), description="secrets without which nothing starts")
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
        init_settings: Source,
        env_settings: Source,
        dotenv_settings: Source,
        file_secret_settings: Source,
    ) -> tuple[Source, ...]:
        files = []
        if (config := os.environ.get("RAYCOMMEND_CONFIG")) is not None:
            if not Path(config).is_file():
                raise SettingsError(f"RAYCOMMEND_CONFIG names {config}, which is not a file")
            files.append(Path(config))
        if (environment := environments.environment_file()) is not None:
            files.append(environment)
            for file in files:
                environments.refuse_secrets_in(file)
        if isinstance(env_settings, EnvSettingsSource):
            given = {name.lower(): value for name, value in environments.secrets_of_files().items()}
            # `..._FILE` of a secret is no field of its group.
            of_secrets = {f"{name}_FILE".lower() for name in environments.SECRETS}
            others = {name: value for name, value in env_settings.env_vars.items() if name not in of_secrets}
            env_settings.env_vars = {**others, **given}
        return init_settings, env_settings, *(YamlConfigSettingsSource(settings_cls, yaml_file=file) for file in files)

    @model_validator(mode="after")
    def _secrets_are_given(self) -> "Settings":
        if lines := environments.missing(self.secrets, self):
            raise ValueError("; ".join(lines))
        return self

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
    def own_tracking(self) -> bool:
        """Whether the stack runs its own MLflow; see `own_store`."""
        return tracking_login.is_own(self.tracking.uri, self.ports.mlflow)

    @property
    def tracking_uri(self) -> str:
        """Address of the registry: as it is set or, of the stack's own, with user and password."""
        return tracking_login.uri(self.tracking.uri, self.state_dir, self.ports.mlflow)

    def without_own_addresses(self) -> "Settings":
        """The same without the addresses of the stack's own parts: a sourced `env` exports them, where they would be
        taken for a store and a registry of somebody else's. Their passwords stay in that shell."""
        store = self.store.model_copy(update={"url": None}) if self.own_store else self.store
        tracking = self.tracking.model_copy(update={"uri": None}) if self.own_tracking else self.tracking
        return self.model_copy(update={"store": store, "tracking": tracking})

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


def ray_token(settings: Settings) -> str | None:
    """The token of Ray's jobs API: from the state folder of a local stack, or as a cluster gives it to its processes.

    Raises:
        OSError: the file cannot be read.
    """
    if settings.token_path.is_file():
        return settings.token_path.read_text().strip()
    return os.environ.get("RAY_AUTH_TOKEN", "").strip() or None


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
    try:
        of_files = environments.secrets_of_files()
        for variable, (group, field) in named.items():
            if value := os.environ.get(variable) or of_files.get(variable):
                overrides = {**overrides, group: {**dict(overrides.get(group) or {}), field: value}}  # type: ignore[call-overload]
        found = with_preset(Settings(**overrides))  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [_bad_setting(item["loc"], item["msg"]) for item in error.errors()]
        raise SettingsError("bad setting: " + "; ".join(lines)) from error
    except environments.EnvironmentFaultError as error:
        raise SettingsError(f"bad setting: {error}") from error
    return found.without_own_addresses()


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
