"""The settings of the pipeline, from the environment (12-factor). The one place that says what each means."""

import re
import subprocess
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from elt.errors import PipelineError

PROJECT = Path(__file__).resolve().parent.parent

DAY = re.compile(r"\{ds(?:(_nodash)|:((?:[^{}%]*%-?[YymdjU])+[^{}%]*))?\}")
"""How a URI says the log day: `{ds}` is YYYY-MM-DD, `{ds_nodash}` is YYYYMMDD, `{ds:%Y/%m/%d}` any spelling of it."""


def _of_a_day(uri: str) -> str:
    """Refuses what only looks like a URI: nobody would find an object there, and it would be waited for all night."""
    if not re.match(r"\s*s3:", uri, re.IGNORECASE):
        raise ValueError("it is no s3://BUCKET/KEY; it may be a secret in the wrong place, so it is not shown")
    for placeholder in re.findall(r"\{+[^{}]*\}*|\}", uri):
        if not DAY.fullmatch(placeholder):
            raise ValueError(f"{placeholder!r} means nothing here; the day is {{ds}}, {{ds_nodash}} or {{ds:%Y/%m/%d}}")
    rest = DAY.sub("day", uri)
    if found := re.search(r"%\S?", rest):
        raise ValueError(f"{found[0]!r} means nothing outside of braces; the day is {{ds}} or {{ds:%Y/%m/%d}}")
    if found := re.search(r"[*?\[\]]", rest):
        raise ValueError(f"{found[0]!r}: there are no wildcards; a URI that ends in / means every object under it")
    if found := re.search(r"\s$|(?<=/)\s|\s(?=/)|[^\S ]|[\u200b-\u200f\u2060\ufeff]", rest):
        raise ValueError(f"a blank ({found[0]!r}) that hardly belongs there, in {uri!r}")
    if not re.match(r"s3://[A-Za-z0-9._:-]+/.", rest):
        raise ValueError(f"{uri!r} is no s3://BUCKET/KEY")
    return uri


def _of_no_day(uri: str) -> str:
    """The same, for what stands above a folder for every day."""
    if found := DAY.search(_of_a_day(uri)):
        raise ValueError(f"{found[0]!r} does not belong there; each day gets its own date=YYYY-MM-DD/ under the prefix")
    return uri


S3Uri = Annotated[str, AfterValidator(_of_a_day)]
S3Prefix = Annotated[str, AfterValidator(_of_no_day)]


class Settings(BaseSettings):
    """One field, one environment variable of the same name in capitals. How a URI says the log day: DAY."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    database_url: SecretStr | None = None
    """libpq URI of the warehouse; the DAG uses it when the Airflow connection `recommendations_db` does not exist."""
    advertisers_uri: S3Uri
    """The list of active advertisers."""
    product_views_uri: S3Uri
    """The log of product views; a URI that ends in `/` means every object under that prefix."""
    ads_views_uri: S3Uri
    """The log of ad impressions and clicks; likewise."""
    exclusions_uri: S3Uri | None = None
    """The list of products that must not be listed (`advertiser_id,product_id`), likewise; without it there is none."""
    intermediate_uri: S3Prefix
    """Prefix for what the steps write: `date=YYYY-MM-DD/...csv.gz`."""
    log_date_format: Literal["YYYY-MM-DD", "D/M/YYYY"] = "YYYY-MM-DD"
    """How the logs spell dates. ISO dates are read either way."""
    max_rejected_share: float = Field(0.01, ge=0, le=1)
    """A larger share of unreadable lines of the day, in any source, fails it."""
    max_advertiser_drop: float = Field(0.5, ge=0, le=1)
    """An active list that is shorter than the previous day's by a larger share fails the day."""
    complete_marker: str = Field("", pattern=r"^[^/\s]*$")
    """Name of the object that is written last under each prefix, like `_SUCCESS`: waited for. One that ends in `.json`
    or `.json.gz` is a manifest of the others (elt/deliveries.py)."""
    landing_sessions: int = Field(2, ge=1, le=32)
    """Sessions that land the objects of a log, as many as there are objects at most; each log has its own. More help
    where S3 answers slowly; each may take 128 MB of the warehouse's memory."""
    landing_urls: SecretStr | None = None
    """libpq URIs of the servers that these sessions are on, in turn, between blanks or commas: workers of a distributed
    database, or any other PostgreSQL 15 or newer. Without them they are on the warehouse's."""
    late_days: int = Field(3, ge=0, le=30)
    """Days before its own whose deliveries a night looks at again, to run them again when something came late."""
    max_volume_drop: float = Field(0.63, ge=0, le=1)
    """A log that has lost a larger share of its usual lines is waited for, then fails the day. A holiday may have two
    fifths of them; a third of the objects has a third."""
    max_silent_advertisers: float = Field(0.4, ge=0, le=1)
    """Likewise, when a larger share of the advertisers that usually have lines in the log has none."""
    ranking_timeout: int = Field(600, ge=1)
    """Seconds that a model may rank a day: a plan that has gone wrong fails the day and holds up nobody for longer."""
    keep_days: int = Field(1826, ge=60)
    """Days that published lists, their figures and the daily counts are kept, back from the newest published day."""
    keep_working_days: int = Field(30, ge=1)
    """Days that rejected lines and ranked candidates are kept after their day was loaded."""
    git_revision: str = ""
    """Recorded with each publication; by default what git says of the project's folder."""

    def sources(self, day: str) -> dict[str, str]:
        """Each source's name (that of its file in sql/landing) with its URI for the day `YYYY-MM-DD`."""
        uris = {
            "advertiser_ids": self.advertisers_uri,
            "product_views": self.product_views_uri,
            "ads_views": self.ads_views_uri,
        }
        if self.exclusions_uri:
            uris["exclusions"] = self.exclusions_uri
        moment = date.fromisoformat(day)

        def spelled(found: re.Match[str]) -> str:
            no_dash, spelling = found.groups()
            return moment.strftime("%Y%m%d" if no_dash else spelling or "%Y-%m-%d")

        return {source: DAY.sub(spelled, uri) for source, uri in uris.items()}

    def daily(self) -> list[str]:
        """The sources that have a delivery of their own for every day: those whose URI says which."""
        one, other = self.sources("2024-02-28"), self.sources("2024-02-29")
        return [source for source, uri in one.items() if uri != other[source]]

    def landing_places(self) -> list[str]:
        """The URIs of `landing_urls`; a comma in one of them parts its hosts."""
        urls = self.landing_urls.get_secret_value() if self.landing_urls else ""
        return [url.strip(" ,\n") for url in re.split(r"[\s,]+(?=\w+://)", urls) if url.strip(" ,\n")]

    def intermediate(self, day: str, name: str) -> str:
        """The URI of the step output `name` of the day."""
        return f"{self.intermediate_uri.rstrip('/')}/date={day}/{name}.csv.gz"

    def published(self) -> str:
        """The prefix of the published lists, for other programs."""
        return f"{self.intermediate_uri.rstrip('/')}/published/"

    def revision(self) -> str:
        """The git revision of the project's files, `-dirty` with local changes, `unknown` outside git."""
        return self.git_revision or _git_revision()


def load_settings() -> Settings:
    """Settings from the environment. Raises PipelineError that names every variable that is missing or wrong."""
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_input=False)
        )
        raise PipelineError(f"environment: {problems}") from None


@lru_cache
def _git_revision() -> str:
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
