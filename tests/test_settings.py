"""The settings: what is refused by name, before anything is touched, and what becomes of a URI."""

import re
from typing import Any

import pytest
from conftest import DAY, URIS

from elt.errors import PipelineError
from elt.settings import Settings, load_settings

pytestmark = pytest.mark.model_blind

WHOLE = {name.upper(): f"s3://bucket/{name}" for name in URIS}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [field.upper() for field in Settings.model_fields]:
        monkeypatch.delenv(name, raising=False)
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("ADVERTISERS_URI", "https://bucket/key", "s3://bucket/key"),
        ("PRODUCT_VIEWS_URI", "s3://bucket", "s3://bucket/views/{ds}/"),
        ("ADS_VIEWS_URI", "s3:///key", "s3://bucket/ads.csv.gz"),
        ("INTERMEDIATE_URI", "/folder", "s3://bucket/intermediate"),
        ("LOG_DATE_FORMAT", "M/D/YYYY", "D/M/YYYY"),
        ("MAX_REJECTED_SHARE", "1.01", "1"),
        ("MAX_REJECTED_SHARE", "-0.01", "0"),
        ("MAX_ADVERTISER_DROP", "1.01", "1"),
        ("MAX_ADVERTISER_DROP", "-0.01", "0"),
        ("KEEP_DAYS", "59", "60"),
        ("KEEP_WORKING_DAYS", "0", "1"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    environment: pytest.MonkeyPatch, name: str, value: str, right: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(PipelineError, match=f"^environment: {name}: "):
        load_settings()
    environment.setenv(name, right)
    assert str(getattr(load_settings(), name.lower())) in (right, f"{right}.0")


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("s3://bucket/{{ ds }}/ads", "{{ ds }}"),
        ("s3://bucket/{{ds}}/ads", "{{ds}}"),
        ("s3://bucket/{DS}/ads", "{DS}"),
        ("s3://bucket/{date}/ads", "{date}"),
        ("s3://bucket/{ds:%H}/ads", "{ds:%H}"),
        ("s3://bucket/{ds:x}/ads", "{ds:x}"),
        ("s3://bucket/{ds:}/ads", "{ds:}"),
        ("s3://bucket/{ds/ads", "{ds/ads"),
        ("s3://bucket/ds}/ads", "}"),
        ("s3://bucket/%Y/%m/%d/ads", "%Y"),
        ("s3://bucket/100%", "%"),
        ("s3://bucket/ads/*", "*"),
        ("s3://bucket/ads-?.csv", "?"),
        ("s3://bucket/ads-[0-9].csv", "["),
        ("s3://bucket/ads ", "' '"),
        ("s3://bucket/ ads", "' '"),
        ("s3://bucket/ads\u00a0log", r"'\xa0'"),
        ("s3://bucket/ads\n", r"'\n'"),
        ("s3://bucket/\u200bads", r"'\u200b'"),
        ("s3://bucket", "'s3://bucket' is no s3://BUCKET/KEY"),
        ("s3:///ads", "is no s3://BUCKET/KEY"),
        ("S3://bucket/ads", "is no s3://BUCKET/KEY"),
        (" s3://bucket/ads", "' s3://bucket/ads' is no s3://BUCKET/KEY"),
        ("s3://my bucket!/ads", "is no s3://BUCKET/KEY"),
    ],
)
def test_what_no_object_can_be_called_is_refused_by_name_and_not_waited_for(
    environment: pytest.MonkeyPatch, uri: str, named: str
) -> None:
    environment.setenv("ADS_VIEWS_URI", uri)
    with pytest.raises(PipelineError, match=f"^environment: ADS_VIEWS_URI: .*{re.escape(named)}"):
        load_settings()


def test_the_outputs_prefix_is_of_no_day(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INTERMEDIATE_URI", "s3://bucket/{ds}/intermediate")
    with pytest.raises(PipelineError, match=r"^environment: INTERMEDIATE_URI: '{ds}' does not belong there"):
        load_settings()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/{ds_nodash}/ads", "s3://bucket/20240305/ads"),
        ("s3://bucket/{ds:%Y/%m/%d}/", "s3://bucket/2024/03/05/"),
        ("s3://bucket/{ds:year=%Y/month=%m/day=%d}/", "s3://bucket/year=2024/month=03/day=05/"),
        ("s3://bucket/{ds:%y%j}/{ds:%-d.%-m.}log of {ds}", "s3://bucket/24065/5.3.log of 2024-03-05"),
    ],
)
def test_a_uri_spells_the_day_as_those_who_deliver_do(environment: pytest.MonkeyPatch, uri: str, expected: str) -> None:
    environment.setenv("ADS_VIEWS_URI", uri)
    assert load_settings().sources("2024-03-05")["ads_views"] == expected


def test_all_that_is_missing_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("ADVERTISERS_URI")
    environment.setenv("ADS_VIEWS_URI", "")
    with pytest.raises(PipelineError, match=r"^environment: ADVERTISERS_URI: .*; ADS_VIEWS_URI: .*required$"):
        load_settings()


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ("postgresql://p:s@one/w", ["postgresql://p:s@one/w"]),
        ("postgresql://p@one/w, postgres://p@two:1/w", ["postgresql://p@one/w", "postgres://p@two:1/w"]),
        (" postgresql://p@one,two/w\npostgresql://p@three/w ", ["postgresql://p@one,two/w", "postgresql://p@three/w"]),
        (" ", []),
    ],
)
def test_places_to_land_stand_between_blanks_or_commas(
    environment: pytest.MonkeyPatch, value: str, places: list[str]
) -> None:
    environment.setenv("LANDING_URLS", value)
    assert load_settings().landing_places() == places
    assert "@one" not in repr(load_settings())


def test_an_empty_value_is_none(environment: pytest.MonkeyPatch) -> None:
    """As in a file of variables where a line was left empty."""
    for name in ("DATABASE_URL", "KEEP_DAYS", "MAX_REJECTED_SHARE", "LOG_DATE_FORMAT"):
        environment.setenv(name, "")
    found = load_settings()
    assert (found.database_url, found.keep_days, found.max_rejected_share) == (None, 1826, 0.01)


@pytest.mark.parametrize("prefix", ["s3://bucket/intermediate", "s3://bucket/intermediate/"])
def test_the_outputs_of_a_day_stand_under_the_prefix(environment: pytest.MonkeyPatch, prefix: str) -> None:
    environment.setenv("INTERMEDIATE_URI", prefix)
    found = load_settings().intermediate(DAY, "TopCTR")
    assert found == f"s3://bucket/intermediate/date={DAY}/TopCTR.csv.gz"


def test_the_day_stands_wherever_a_uri_says_so(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ADS_VIEWS_URI", "s3://bucket/{ds}/ads-{ds}.csv")
    sources: dict[str, Any] = load_settings().sources(DAY)
    assert sources["ads_views"] == f"s3://bucket/{DAY}/ads-{DAY}.csv"
    assert sources["product_views"] == "s3://bucket/product_views_uri"


@pytest.mark.parametrize(
    ("uri", "is_daily"),
    [
        ("s3://bucket/{ds}/log", True),
        ("s3://bucket/{ds:%d}/log", True),
        ("s3://bucket/{ds:%Y/%m}/log", False),
        ("s3://bucket/log", False),
    ],
)
def test_a_source_has_a_delivery_of_its_own_for_every_day_when_its_uri_tells_days_apart(
    environment: pytest.MonkeyPatch, uri: str, is_daily: bool
) -> None:
    environment.setenv("ADS_VIEWS_URI", uri)
    assert ("ads_views" in load_settings().daily()) is is_daily
