"""The night in DuckDB: the same objects in, the same filtered logs and lists out.

The filtered logs are written by COPY TO a `.csv.gz`, as its manual has it; with `--counted` as the pipeline writes
them: each distinct line counted, then repeated here and zipped by isal.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
from isal import igzip

from bench.objects import DAY, download, run, upload

COLUMNS = {
    "product_views": {"advertiser_id": "VARCHAR", "product_id": "VARCHAR", "date": "DATE"},
    "ads_views": {"advertiser_id": "VARCHAR", "product_id": "VARCHAR", "type": "VARCHAR", "date": "DATE"},
}

TOP_CTR = """
    WITH counted AS (
        SELECT advertiser_id, product_id,
            count(*) FILTER (type = 'impression') AS impressions, count(*) FILTER (type = 'click') AS clicks
        FROM ads_views GROUP BY ALL
    ), rates AS (
        SELECT *, clicks::DOUBLE / impressions AS ctr FROM counted WHERE impressions > 0
    ), ranked AS (
        SELECT *, row_number() OVER (
            PARTITION BY advertiser_id ORDER BY ctr DESC, clicks DESC, impressions, product_id
        ) AS rank
        FROM rates
    )
    SELECT advertiser_id, rank, product_id, ctr AS score, ctr, clicks, impressions
    FROM ranked WHERE rank <= 20 ORDER BY advertiser_id, rank
"""

TOP_PRODUCT = """
    WITH counted AS (
        SELECT advertiser_id, product_id, count(*) AS views FROM product_views GROUP BY ALL
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY advertiser_id ORDER BY views DESC, product_id) AS rank FROM counted
    )
    SELECT advertiser_id, rank, product_id, views AS score, views
    FROM ranked WHERE rank <= 20 ORDER BY advertiser_id, rank
"""


def night(s3: Any, folder: Path) -> None:
    db = duckdb.connect()
    db.execute("SET threads = 2")
    active = download(s3, "advertiser_ids", folder)
    db.execute("CREATE TABLE active AS SELECT DISTINCT advertiser_id FROM read_csv($1, header = true)", [str(active)])

    def keep(log: str) -> None:
        file = download(s3, log, folder)
        db.cursor().execute(
            f"CREATE TABLE {log} AS SELECT {', '.join(COLUMNS[log])} "  # noqa: S608
            f"FROM read_csv('{file}', header = true, columns = {COLUMNS[log]}) "
            f"SEMI JOIN active USING (advertiser_id) WHERE date = '{DAY}'"
        )
        file.unlink()

    def deliver(item: tuple[str, str]) -> None:
        name, query = item
        file = folder / f"{name}.csv.gz"
        if name in COLUMNS and "--counted" in sys.argv:
            counted = f"SELECT {', '.join(COLUMNS[name])}, count(*) FROM {name} GROUP BY ALL ORDER BY ALL"  # noqa: S608
            with igzip.open(file, "wb", compresslevel=1) as zipped:
                zipped.write((",".join(COLUMNS[name]) + "\n").encode())
                for *line, times in db.cursor().execute(counted).fetchall():
                    zipped.write((",".join(map(str, line)) + "\n").encode() * times)
        else:
            db.cursor().execute(f"COPY ({query}) TO '{file}' (HEADER)")
        upload(s3, file)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(keep, COLUMNS))
        outputs = {log: f"FROM {log}" for log in COLUMNS} | {"TopCTR": TOP_CTR, "TopProduct": TOP_PRODUCT}
        list(pool.map(deliver, outputs.items()))


if __name__ == "__main__":
    sys.exit(run(night))
