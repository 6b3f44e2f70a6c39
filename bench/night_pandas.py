"""The night in pandas: the same objects in, the same filtered logs and lists out. pyarrow reads CSV, isal gzips."""

import sys
from concurrent.futures import ThreadPoolExecutor
from io import BufferedWriter, TextIOWrapper
from pathlib import Path
from typing import Any

import pandas as pd
from isal import igzip

from bench.objects import DAY, download, run, upload

KEY = ["advertiser_id", "product_id"]


def night(s3: Any, folder: Path) -> None:
    active = pd.read_csv(download(s3, "advertiser_ids", folder))["advertiser_id"].unique()

    def kept(log: str) -> pd.DataFrame:
        file = download(s3, log, folder)
        frame = pd.read_csv(file, engine="pyarrow", dtype_backend="pyarrow")
        file.unlink()
        return frame[(frame["date"] == pd.Timestamp(DAY).date()) & frame["advertiser_id"].isin(active)]

    def deliver(item: tuple[str, pd.DataFrame]) -> None:
        name, frame = item
        file = folder / f"{name}.csv.gz"
        with igzip.open(file, "wb", compresslevel=1) as zipped:
            with TextIOWrapper(BufferedWriter(zipped, 1 << 20), newline="") as text:
                frame.to_csv(text, index=False, lineterminator="\n")
        upload(s3, file)

    with ThreadPoolExecutor(2) as pool:
        views, ads = pool.map(kept, ("product_views", "ads_views"))
        results = {"product_views": views, "ads_views": ads, "TopCTR": top_ctr(ads), "TopProduct": top_product(views)}
        list(pool.map(deliver, results.items()))


def top_ctr(ads: pd.DataFrame) -> pd.DataFrame:
    clicks = ads["type"] == "click"
    counted = ads[KEY].assign(clicks=clicks, impressions=~clicks).groupby(KEY, as_index=False).sum()
    counted = counted[counted["impressions"] > 0]
    counted["ctr"] = counted["clicks"].astype("float64") / counted["impressions"].astype("float64")
    order = ["advertiser_id", "ctr", "clicks", "impressions", "product_id"]
    top = ranked(counted.sort_values(order, ascending=[True, False, False, True, True]))
    return top.assign(score=top["ctr"])[
        ["advertiser_id", "rank", "product_id", "score", "ctr", "clicks", "impressions"]
    ]


def top_product(views: pd.DataFrame) -> pd.DataFrame:
    counted = views.groupby(KEY, as_index=False).size().rename(columns={"size": "views"})
    top = ranked(counted.sort_values(["advertiser_id", "views", "product_id"], ascending=[True, False, True]))
    return top.assign(score=top["views"])[["advertiser_id", "rank", "product_id", "score", "views"]]


def ranked(ordered: pd.DataFrame) -> pd.DataFrame:
    top = ordered.groupby("advertiser_id").head(20)
    return top.assign(rank=top.groupby("advertiser_id").cumcount() + 1)


if __name__ == "__main__":
    sys.exit(run(night))
