"""What one would write first: a connection a request, rows turned into JSON by Python. DATABASE_URL as for the API."""

import os

import psycopg2
from fastapi import FastAPI, HTTPException

app = FastAPI()

QUERY = """
SELECT recommendations.entry, recommendations.date
FROM marts.recommendations
WHERE
    recommendations.advertiser_id = %s
    AND recommendations.model = %s
    AND recommendations.date = (SELECT max(publications.date) FROM marts.publications)
ORDER BY recommendations.rank
"""


@app.get("/recommendations/{advertiser_id}/{model}")
def recommendations(advertiser_id: str, model: str):
    conn = psycopg2.connect(os.environ["DATABASE_URL"])
    try:
        with conn.cursor() as cursor:
            cursor.execute(QUERY, (advertiser_id, model))
            rows = cursor.fetchall()
    finally:
        conn.close()
    if not rows:
        raise HTTPException(404)
    return {
        "advertiser_id": advertiser_id,
        "model": model,
        "date": rows[0][1],
        "count": len(rows),
        "recommendations": [entry for entry, _ in rows],
    }
