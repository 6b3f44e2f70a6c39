"""What the answers look like, for the OpenAPI document. The answers themselves are built by PostgreSQL."""

from datetime import date as Date
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict


class Entry(BaseModel):
    """A product on a list, with the figures of the model that ranked it."""

    model_config = ConfigDict(extra="allow")

    rank: int = Field(ge=1, le=20, description="1 is the best")
    product_id: str


class Recommendations(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "advertiser_id": "LTRZRCI4M19WYVL6Q6L5",
                    "model": "TopCTR",
                    "date": "2024-11-30",
                    "count": 1,
                    "recommendations": [{"rank": 1, "product_id": "tuxg0l", "ctr": 0.5, "clicks": 1, "impressions": 2}],
                }
            ]
        }
    )

    advertiser_id: str
    model: str = Field(description="The model's name as it is written, however it was spelt in the request")
    date: Date = Field(description="The log day that the list was made from")
    count: int = Field(ge=0, le=20, description="Products on the list")
    recommendations: list[Entry] = Field(
        description="Best first, each with the figures of its model; `/models` names them"
    )


class ManyRecommendations(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "count": 1,
                    "missing": ["UNKNOWN"],
                    "lists": [
                        {
                            "advertiser_id": "LTRZRCI4M19WYVL6Q6L5",
                            "model": "TopProduct",
                            "date": "2024-11-30",
                            "count": 1,
                            "recommendations": [{"rank": 1, "product_id": "8x7ecu", "views": 7}],
                        }
                    ],
                }
            ]
        }
    )

    count: int = Field(ge=1, le=100, description="Lists in this answer")
    missing: list[str] = Field(description="The advertisers that have no list: unknown, or not active on the day")
    lists: list[Recommendations] = Field(description="In the order in which the advertisers were named")


class History(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "advertiser_id": "LTRZRCI4M19WYVL6Q6L5",
                    "from": "2024-11-24",
                    "to": "2024-11-30",
                    "history": {
                        "2024-11-30": {
                            "TopCTR": [{"rank": 1, "product_id": "tuxg0l", "ctr": 0.5, "clicks": 1, "impressions": 2}],
                            "TopProduct": [{"rank": 1, "product_id": "8x7ecu", "views": 7}],
                        }
                    },
                }
            ]
        }
    )

    advertiser_id: str
    from_: Date = Field(alias="from", description="First of the 7 days")
    to: Date = Field(description="The newest published day")
    history: dict[Date, dict[str, list[Entry]]] = Field(
        description="Newest day first; a day without lists for the advertiser is absent"
    )


class Variation(BaseModel):
    advertiser_id: str
    replaced_share: float = Field(ge=0, le=1, description="Average share of the list replaced from one day to the next")
    rank_weighted_change: float | None = Field(
        ge=0, le=1, description="Average of 1 - average overlap: as replaced_share, but a change at the top weighs more"
    )
    days: int = Field(description="Day-to-day changes that the averages are over, at most 7")


class PairAgreement(BaseModel):
    models: list[str] = Field(min_length=2, max_length=2)
    common: int = Field(ge=0, le=20, description="Products on both lists")
    jaccard: float = Field(ge=0, le=1, description="Products on both lists / products on either")
    rank_correlation: float | None = Field(
        ge=-1, le=1, description="Spearman's, of the products on both lists; null with fewer than 2"
    )


class Agreement(PairAgreement):
    advertiser_id: str


class Events(BaseModel):
    impressions: int
    clicks: int
    ctr: float | None = Field(description="clicks / impressions; null without an impression")
    views: int


class WeekEvents(Events):
    from_: Date = Field(alias="from", description="First of the published days, at most 7, that end with `date`")
    days: int = Field(description="How many days the sums are over")


class Totals(BaseModel):
    day: Events | None
    week: WeekEvents


class AdvertiserEvents(Events):
    products: int = Field(description="Products with an event")


class AdvertiserTotals(BaseModel):
    day: AdvertiserEvents | None
    week: WeekEvents


class Lines(BaseModel):
    delivered: int = Field(description="Lines in the source objects")
    rejected: int = Field(description="Lines that could not be read")


class Outcome(BaseModel):
    lift: float | None = Field(
        description="Clicks on the listed products / clicks that as many impressions of average products of the same "
        "advertisers would have had: 1 is average"
    )
    click_share: float | None = Field(description="Share of the clicks of the day after that fell on listed products")
    view_share: float | None = Field(description="Share of the views of the day after that fell on listed products")
    meaningful: bool = Field(description="Were there clicks enough for the lift to be more than chance?")


class WeekOutcome(Outcome):
    days: int = Field(description="Days of lists that it is over, at most 7")


class Evaluation(Outcome):
    """What became of a model's lists by the events of the day after."""

    lists_of: Date = Field(description="Log day of the newest lists whose day after is published")
    ctr: float | None = Field(description="Click-through rate of the listed products the day after")
    average_ctr: float | None = Field(description="Click-through rate of all products of the same advertisers")
    advantage: float | None = Field(
        description="Clicks on the listed products / clicks that as many impressions of products not listed, of the "
        "same advertisers, would have had: 1 is no better. This and what follows null for days evaluated long ago"
    )
    unlisted_ctr: float | None = Field(description="Click-through rate of the products that are not listed")
    listed_share: float | None = Field(description="Share of the impressions that fell on listed products")
    dead_slots: int | None = Field(description="Listed products without any event the day after")
    concentration: float | None = Field(
        description="Sum of squared shares of the listed products in their impressions (of advertisers, the mean): 1 "
        "divided by the products where all are shown alike, 1 where one has them all"
    )
    week: WeekOutcome


class AllEvaluation(Evaluation):
    """The same of all advertisers together."""

    advantage_low: float | None = Field(description="Lower end of its 95 % interval, clustered by advertiser")
    advantage_high: float | None = Field(description="Upper end")
    dead_share: float | None = Field(description="dead_slots / listed products")
    without_list: int | None = Field(description="Advertisers active on the day of the lists that have none")


EVALUATION: JsonDict = {
    "lists_of": "2024-11-29",
    "ctr": 0.031,
    "average_ctr": 0.024,
    "advantage": 1.38,
    "unlisted_ctr": 0.0225,
    "listed_share": 0.13,
    "dead_slots": 11,
    "concentration": 0.08,
    "lift": 1.29,
    "click_share": 0.17,
    "view_share": 0.11,
    "meaningful": True,
    "week": {"days": 7, "lift": 1.31, "click_share": 0.17, "view_share": 0.11, "meaningful": True},
}
ALL: JsonDict = {"advantage_low": 1.21, "advantage_high": 1.55, "dead_share": 0.03, "without_list": 1}
DAY_EVENTS: JsonDict = {"impressions": 41200, "clicks": 989, "ctr": 0.024, "views": 45100}
WEEK_EVENTS: JsonDict = {
    "from": "2024-11-24",
    "days": 7,
    "impressions": 288400,
    "clicks": 6922,
    "ctr": 0.024,
    "views": 315700,
}


class Stats(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "date": "2024-11-30",
                    "advertisers": 20,
                    "advertisers_with_lists": {"TopCTR": 20, "TopProduct": 20},
                    "advertisers_with_full_lists": {"TopCTR": 19, "TopProduct": 20},
                    "published_at": "2024-12-01T00:04:11.5+00:00",
                    "newest": "2024-11-30",
                    "totals": {"day": DAY_EVENTS, "week": WEEK_EVENTS},
                    "lines": {
                        "ads_views": {"delivered": 52000, "rejected": 3},
                        "advertiser_ids": {"delivered": 20, "rejected": 0},
                        "product_views": {"delivered": 56000, "rejected": 0},
                    },
                    "most_varying": {
                        "TopCTR": [
                            {
                                "advertiser_id": "LTRZRCI4M19WYVL6Q6L5",
                                "replaced_share": 0.9,
                                "rank_weighted_change": 0.94,
                                "days": 7,
                            }
                        ]
                    },
                    "agreement": [
                        {
                            "advertiser_id": "LTRZRCI4M19WYVL6Q6L5",
                            "models": ["TopCTR", "TopProduct"],
                            "common": 4,
                            "jaccard": 0.11,
                            "rank_correlation": 0.2,
                        }
                    ],
                    "evaluation": {"TopCTR": EVALUATION | ALL},
                }
            ]
        }
    )

    date: Date = Field(description="The newest published day, or the one asked for")
    advertisers: int = Field(description="Active advertisers of that day")
    advertisers_with_lists: dict[str, int] = Field(description="Per model, the advertisers with a list")
    advertisers_with_full_lists: dict[str, int] = Field(description="Per model, the advertisers with 20 products on it")
    published_at: datetime = Field(description="When the newest of the day's lists began to be written")
    newest: Date = Field(description="The newest published day")
    totals: Totals = Field(description="Events of the active advertisers")
    lines: dict[str, Lines] = Field(description="Per source, the lines that the day was loaded from")
    most_varying: dict[str, list[Variation]] = Field(
        description="Per model, over the last 7 published days, the advertisers whose lists change most, most first"
    )
    agreement: list[Agreement] = Field(
        description="Per pair of models, the advertisers whose lists they agree on most; by jaccard, most first"
    )
    evaluation: dict[str, AllEvaluation] = Field(
        description="Per model, what became of its lists; of the newest day whose day after is published, and of a week"
    )


class ListChange(BaseModel):
    replaced_share: float | None = Field(description="Share of the list replaced; null when there was none before")
    rank_weighted_change: float | None = Field(description="1 - average overlap; null when there was none before")


class WeekChange(ListChange):
    days: int = Field(description="Day-to-day changes that the averages are over, at most 7")


class ListFigures(ListChange):
    count: int = Field(ge=0, le=20, description="Products on the list")
    week: WeekChange


class AdvertiserStats(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "advertiser_id": "LTRZRCI4M19WYVL6Q6L5",
                    "date": "2024-11-30",
                    "published_at": "2024-12-01T00:04:11.5+00:00",
                    "lists": {
                        "TopCTR": {
                            "count": 20,
                            "replaced_share": 0.9,
                            "rank_weighted_change": 0.94,
                            "week": {"days": 7, "replaced_share": 0.87, "rank_weighted_change": 0.91},
                        }
                    },
                    "agreement": [
                        {"models": ["TopCTR", "TopProduct"], "common": 4, "jaccard": 0.11, "rank_correlation": 0.2}
                    ],
                    "totals": {"day": {"products": 200, **DAY_EVENTS}, "week": WEEK_EVENTS},
                    "evaluation": {"TopCTR": EVALUATION},
                }
            ]
        }
    )

    advertiser_id: str
    date: Date = Field(description="The newest published day, or the one asked for")
    published_at: datetime
    lists: dict[str, ListFigures] = Field(description="Per model, the list and how it changes from day to day")
    agreement: list[PairAgreement] = Field(description="Per pair of models that both have a list")
    totals: AdvertiserTotals
    evaluation: dict[str, Evaluation]


class Advertiser(BaseModel):
    advertiser_id: str
    products: int | None = Field(
        description="Products with an event; this and the others null for days published long ago"
    )
    impressions: int | None
    clicks: int | None
    ctr: float | None = Field(description="clicks / impressions; null without an impression")
    views: int | None


class Advertisers(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "date": "2024-11-30",
                    "active": 20,
                    "count": 1,
                    "advertisers": [{"advertiser_id": "LTRZRCI4M19WYVL6Q6L5", "products": 200, **DAY_EVENTS}],
                    "next": "?after=LTRZRCI4M19WYVL6Q6L5&limit=1",
                }
            ]
        }
    )

    date: Date = Field(description="The newest published day, or the one asked for")
    active: int = Field(description="All that were active on that day")
    count: int = Field(description="Those in this answer")
    advertisers: list[Advertiser] = Field(
        description="In byte order of the id. The next page: `?after=` the last of these"
    )
    next: str | None = Field(
        description="The next page, as an address relative to this one; also in the header Link. Null: there is none"
    )


class PublishedModel(BaseModel):
    model: str
    title: str | None = Field(description="What it is, as the first line of its SQL says")
    figures: list[str] | None = Field(description="What an entry of its lists has beside rank and product_id")
    advertisers: int = Field(description="Advertisers with a list")
    advertisers_with_full_lists: int = Field(description="Advertisers with 20 products on it")
    days_read: list[Date] = Field(description="The log days whose counts made the lists")
    sql_file: str
    sql_version: str = Field(description="SHA-256 of the file; marts.sql_versions has the text")
    git_revision: str
    published_at: datetime


class Models(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "date": "2024-11-30",
                    "models": [
                        {
                            "model": "TopProduct",
                            "title": "the products of an advertiser that were viewed most on the day.",
                            "figures": ["views"],
                            "advertisers": 20,
                            "advertisers_with_full_lists": 20,
                            "days_read": ["2024-11-30"],
                            "sql_file": "sql/models/top_product.sql",
                            "sql_version": "9f2c",
                            "git_revision": "5b56baf",
                            "published_at": "2024-12-01T00:04:11.5+00:00",
                        }
                    ],
                }
            ]
        }
    )

    date: Date = Field(description="The newest published day, or the one asked for")
    models: list[PublishedModel]


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "no model 'TopSellers'; the models are TopCTR, TopProduct",
                    "request_id": "0d8cf8b6a3f1-2a",
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what would be right")
    request_id: str = Field(description="The request's X-Request-Id, as in the answer's header and in the log")
    errors: list[dict[str, Any]] | None = Field(None, description="For 422: each wrong parameter")


class Live(BaseModel):
    status: str = Field(examples=["live"])
    version: str = Field(description="Of the program that answers", examples=["0.1.0"])


class Ready(BaseModel):
    status: str = Field(examples=["ready"])
    newest: Date | None = Field(description="The newest published day")
