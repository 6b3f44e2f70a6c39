"""What the answers look like, for the OpenAPI document. The answers themselves are built by PostgreSQL."""

from datetime import date as Date
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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
        description="Best first. TopCTR adds ctr, clicks, impressions; TopProduct adds views"
    )


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
    days: int = Field(description="Day-to-day changes that the average is over, at most 7")


class Agreement(BaseModel):
    advertiser_id: str
    models: list[str] = Field(min_length=2, max_length=2)
    common: int = Field(ge=0, le=20, description="Products on both lists")
    jaccard: float = Field(ge=0, le=1, description="Products on both lists / products on either")


class Stats(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "date": "2024-11-30",
                    "advertisers": 20,
                    "advertisers_with_lists": {"TopCTR": 20, "TopProduct": 20},
                    "published_at": "2024-12-01T00:04:11.5+00:00",
                    "most_varying": {
                        "TopCTR": [{"advertiser_id": "LTRZRCI4M19WYVL6Q6L5", "replaced_share": 0.9, "days": 7}]
                    },
                    "agreement": [
                        {
                            "advertiser_id": "LTRZRCI4M19WYVL6Q6L5",
                            "models": ["TopCTR", "TopProduct"],
                            "common": 4,
                            "jaccard": 0.11,
                        }
                    ],
                }
            ]
        }
    )

    date: Date = Field(description="The newest published day")
    advertisers: int = Field(description="Active advertisers of that day")
    advertisers_with_lists: dict[str, int] = Field(description="Per model, the advertisers with a list")
    published_at: datetime
    most_varying: dict[str, list[Variation]] = Field(
        description="Per model, over the last 7 published days, the advertisers whose lists change most, most first"
    )
    agreement: list[Agreement] = Field(description="The advertisers whose lists the models agree on most, most first")


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
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what would be right")
    errors: list[dict[str, Any]] | None = Field(None, description="For 422: each wrong parameter")


class Live(BaseModel):
    status: str = Field(examples=["live"])


class Ready(BaseModel):
    status: str = Field(examples=["ready"])
    newest: Date | None = Field(description="The newest published day")
