"""The settings of the API, from the environment. The one place that says what each means."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One field, one environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    database_url: SecretStr | None = None
    """libpq URI of the warehouse, as a role that may read marts (recommendations_api)."""
    replica_url: SecretStr | None = None
    """libpq URI of a read replica, as the same role: it is asked first, and `database_url` for leases and for what the
    replica can not say yet."""
    pool_size: int = Field(default=8, ge=1)
    """Connections to the warehouse for answers, a process; one more asks for leases. With a replica so many lead there,
    and a quarter as many to the primary."""
    pool_wait: float = Field(default=5.0, gt=0)
    """Seconds that a request waits for a free connection before it gets 503."""
    statement_timeout: float = Field(default=3.0, gt=0)
    """Seconds that a query may take before it is cancelled and the request gets 503."""
    connection_lifetime: float = Field(default=60.0, gt=0)
    """Seconds after which a connection is replaced, so that the server is used that the host's name leads to now."""
    memory_mb: int = Field(default=32, ge=0)
    """Answers kept in memory, MB, a process, none that takes more than a hundredth of it; 0 keeps none."""
    default_model: str = "Recommended"
    """The model whose list is the answer when a request names none."""
    api_access: Literal["open", "keys"] = "open"
    """`keys`: who asks has a key, made by `python -m elt key create`; `open`: everybody may read everything."""
    cors_origins: list[str] = []
    """Origins (JSON list) whose pages may call the API from a browser; `["*"]` for all."""
    keep_alive: int = Field(default=75, ge=1)
    """Seconds that a connection without a request stays open: longer than the balancer in front keeps it (an ALB: 60),
    or requests are lost that it sends into one that is being closed."""
    root_path: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    """The prefix under which a proxy shows the API to the world, `/lists`, whether it leaves it in the path or not; not
    one that a route has."""
    access_log: bool = False
    """Print a line of JSON for every request that is answered."""
