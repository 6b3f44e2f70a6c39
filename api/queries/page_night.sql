-- GET /nights/{date}: what arrived, what was made of it and by which SQL, as JSON text.
-- Parameters: date. Always one row; `models` is empty when nothing is published for the day.
WITH published AS (
    SELECT
        publications.*,
        (
            SELECT earlier.sql_version
            FROM marts.publications AS earlier
            WHERE
                earlier.model = publications.model
                AND earlier.date < publications.date
            ORDER BY earlier.date DESC
            LIMIT 1
        ) AS version_before
    FROM marts.publications
    WHERE publications.date = %(date)s::date
),

one AS (
    SELECT
        published.sources,
        published.accounting
    FROM published
    ORDER BY published.model
    LIMIT 1
),

models AS (
    SELECT
        published.model,
        sql_versions.title,
        published.row_count,
        published.advertiser_count,
        published.full_list_count,
        published.days_read,
        published.revision,
        published.published_at,
        published.run_id,
        published.git_revision,
        published.sql_file,
        published.sql_version,
        sql_versions.sql_text,
        CASE WHEN published.version_before <> published.sql_version THEN earlier.sql_text END AS sql_text_before
    FROM published
    LEFT JOIN marts.sql_versions ON published.sql_version = sql_versions.sql_version
    LEFT JOIN marts.sql_versions AS earlier ON published.version_before = earlier.sql_version
)

SELECT
    json_build_object(
        'first', (SELECT min(publications.date) FROM marts.publications),
        'newest', (SELECT max(publications.date) FROM marts.publications),
        'before', (
            SELECT max(publications.date)
            FROM marts.publications
            WHERE publications.date < %(date)s::date
        ),
        'after', (
            SELECT min(publications.date)
            FROM marts.publications
            WHERE publications.date > %(date)s::date
        ),
        'sources', coalesce((SELECT one.sources FROM one), '[]'),
        'accounting', coalesce((SELECT one.accounting FROM one), '[]'),
        'audits', (
            SELECT
                coalesce(
                    json_agg(
                        audit_results
                        ORDER BY audit_results.audited_at DESC, audit_results.kind ASC, audit_results.audit ASC
                    ),
                    '[]'
                )
            FROM marts.audit_results
            WHERE audit_results.date = %(date)s::date
        ),
        'steps', (
            SELECT coalesce(json_agg(step_times ORDER BY step_times.began_at ASC, step_times.step ASC), '[]')
            FROM marts.step_times
            WHERE step_times.date = %(date)s::date
        ),
        'withdrawals', (
            SELECT coalesce(json_agg(withdrawals ORDER BY withdrawals.withdrawn_at DESC), '[]')
            FROM marts.withdrawals
            WHERE withdrawals.date = %(date)s::date
        ),
        'rejected', (
            SELECT
                coalesce(
                    json_agg(rejected_reasons ORDER BY rejected_reasons.source ASC, rejected_reasons.lines DESC), '[]'
                )
            FROM marts.rejected_reasons
            WHERE rejected_reasons.date = %(date)s::date
        ),
        'models', (
            SELECT coalesce(json_agg(models ORDER BY models.model), '[]')
            FROM models
        )
    )::text AS body,
    version.number AS version
FROM marts.version
