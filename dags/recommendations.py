"""The nightly run: the names, the order, the schedule. What the steps do is in elt/ and sql/."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from elt import connections, days, following, notices, sql, steps, withdrawals
from elt.errors import NotYet, PipelineError
from elt.settings import PROJECT, load_settings

MODELS = sql.models()
LISTS = Asset("recommendations")
"""Somebody who wants to know that lists were published, whichever day's; the event's extra says which."""
LISTS_BY_DAY = Asset("recommendations_by_day", uri="x-recommendations://marts/recommendations")
"""Partitioned by log day, for a DAG with a PartitionedAssetTimetable: Airflow starts no other by a partition."""
VERSION = (PROJECT / "VERSION").read_text().strip()


def tell(what: str, **params: Any) -> Any:
    """What the task returns: Airflow shows it, and other tasks and DAGs may read it."""
    return run_step(lambda day, connect, settings: steps.tell(day, what, connect, **params))


def run_step(step: Any, **arguments: Any) -> Any:
    """Runs a step for the run's log day. Only what waiting may cure is left to Airflow's retries.

    Somebody waits for `airflow dags test`: there everything fails at once. It would try again for hours.
    """
    context = get_current_context()
    try:
        day = days.named_by(context.get("logical_date"))
        settings = load_settings()
        return step(day, connect=connections.warehouse(settings), settings=settings, **arguments)
    except Exception as error:
        if isinstance(error, PipelineError) and not isinstance(error, NotYet):
            raise AirflowFailException(str(error)) from None
        if context["dag_run"].triggering_user_name == "dag_test":
            raise AirflowFailException(f"{str(error).strip()} (a scheduled run would try again)") from error
        raise


def with_s3(step: Any) -> Any:
    """The step, with S3 opened for it: what is wrong with that is of the step, too."""
    return lambda day, **known: step(day, s3=connections.s3(), **known)


with DAG(
    "recommendations",
    description="Raw logs on S3 -> ranked in PostgreSQL -> published top-20 lists",
    doc_md=f"""
    Every night, for the log day that just ended (`logical_date` = `ds` = the log day, UTC):

    1. **FiltrarDatos** lands the raw logs with COPY, keeps the events of active advertisers, counts them per product.
       Logs that are late, or that look like a part of the day, are waited for: it retries for about four hours, then
       fails; the param `incomplete` publishes a part.
    2. One task a file in `sql/models` (**TopCTR**, **TopProduct**, ...) ranks the products.
    3. **DBWriting** replaces the day's lists in one transaction, if every audit in `sql/audits` holds. Then it ranks
       again the published lists of later days that look back on this one, runs again the days before of which something
       came late, and deletes what is older than is kept. Should one of those fail, it fails in the end: its message
       says that the day is published.

    Running a day again is safe and changes nothing unless the logs or the SQL changed. Any past days:
    `airflow backfill create --dag-id recommendations --from-date 2024-11-20 --to-date 2024-11-27`, or by hand, one day:
    `airflow dags test recommendations 2024-11-20`. A failure leaves readers with the lists they had; its message says
    what to mend.

    Version {VERSION}.
    """,
    # A data interval of one day, so that a run that starts after midnight has the day before as its logical date.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    # Before every log: of an earlier day Airflow would call a run a success that did nothing.
    start_date=datetime(1970, 1, 1, tzinfo=UTC),
    # A new or resumed scheduler runs the newest day only; `airflow backfill` says which older ones are wanted.
    catchup=False,
    max_active_runs=2,
    default_args={
        "owner": "data-engineering",
        "retries": 4,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=1),
        "on_failure_callback": notices.on_failure(),
    },
    params={
        "reload": Param(False, type="boolean", description="Load the logs again even if the objects have not changed"),
        "incomplete": Param(False, type="boolean", description="Publish the day even if it looks like a part of one"),
    },
    tags=["recommendations", "postgres", "s3"],
) as dag:

    @task(
        task_id="FiltrarDatos",
        retries=12,
        retry_delay=timedelta(minutes=1),
        max_retry_delay=timedelta(minutes=30),
        execution_timeout=timedelta(hours=2),
    )
    def filter_events() -> dict[str, Any]:
        context = get_current_context()
        ti = context["ti"]
        # The first try of the run, or since somebody cleared it.
        begins = ti.try_number == ti.max_tries - (ti.task.retries or 0) + 1
        run_step(withdrawals.lift if begins else withdrawals.check_lifted, by=context["run_id"])
        wanted = {name: context["params"][name] for name in ("reload", "incomplete")}
        loaded = run_step(with_s3(steps.filter_events), run_id=context["run_id"], **wanted)
        return {"loaded": loaded, **tell("what_was_loaded")}

    @task
    def build_model(index: int) -> dict[str, Any]:
        return {"candidates": run_step(with_s3(steps.build_model), model=MODELS[index])}

    @task(task_id="DBWriting", outlets=[LISTS, LISTS_BY_DAY])
    def publish() -> dict[str, Any]:
        context = get_current_context()
        run_step(following.finish, models=MODELS, open_s3=connections.s3, run_id=context["run_id"])
        told: dict[str, Any] = tell("what_was_published", run_id=context["run_id"])
        for asset in (LISTS, LISTS_BY_DAY):
            context["outlet_events"][asset].extra = told
        context["outlet_events"][LISTS_BY_DAY].add_partitions([told["date"], *told["also_published"]])
        return told

    built = [build_model.override(task_id=model.name)(index) for index, model in enumerate(MODELS)]
    filter_events() >> built >> publish()
