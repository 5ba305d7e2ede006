"""Every setting of Celery's by name: what it is while nobody sets it, and what comes of it here.

1. ``HONOURED`` are those that do what they do in Celery, ``DIFFERENT`` those that do something else or nothing more than
   pmtq does anyway, ``IGNORED`` those that have nothing to act on. Each name is in one of them, with the reason.
2. The reference page and the log lines are made of these tables, so that they cannot disagree.

It does not know who reads a setting.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from pmtq import values


class Setting(NamedTuple):
    """One setting."""

    default: Any
    check: Callable[[str, Any], Any]
    """Takes the name and a value, and returns the value to keep; raises ``ImproperlyConfigured``."""
    note: str
    """What it does; for those that are not honoured, how that differs or why there is nothing to do."""


_HONOURED = {
    "result_accept_content": Setting(None, values.content_or_none, "as accept_content"),
    "timezone": Setting(None, values.zone, "the zone of schedules; None is UTC"),
    "enable_utc": Setting(
        True, values.flag, "False makes local time the zone, unless timezone names one; files hold UTC"
    ),
    "imports": Setting((), values.names, "modules a worker imports for their tasks"),
    "include": Setting((), values.names, "more of them"),
    "broker_url": Setting(None, values.text, "file:// and the queue folder; None is file://queue_dir"),
    "task_serializer": Setting("json", values.serializer, "only json"),
    "result_serializer": Setting("json", values.serializer, "only json"),
    "task_annotations": Setting(None, values.anything, "attributes to set on tasks, by name"),
    "task_routes": Setting(None, values.anything, "which queue a task goes to: by name, glob, regex or function"),
    "task_queues": Setting(None, values.anything, "the queues a worker serves that was not told -Q"),
    "task_default_queue": Setting("celery", values.text, "the queue of tasks that nothing else gives one"),
    "task_create_missing_queues": Setting(True, values.flag, "False refuses queues that task_queues does not list"),
    "task_default_priority": Setting(None, values.priority, "0 to 9, the highest first; None is 0"),
    "task_inherit_parent_priority": Setting(False, values.flag, "a task's calls get its own priority"),
    "task_time_limit": Setting(None, values.seconds, "seconds after which a task's process is ended (prefork)"),
    "task_soft_time_limit": Setting(
        None, values.seconds, "seconds after which SoftTimeLimitExceeded is raised in a task"
    ),
    "task_ignore_result": Setting(
        False, values.flag, "values that tasks return are thrown away; what went wrong is kept"
    ),
    "task_always_eager": Setting(False, values.flag, "delay runs the task here and now; nothing is written"),
    "task_eager_propagates": Setting(False, values.flag, "and what the task raises is raised at once"),
    "task_store_eager_result": Setting(False, values.flag, "results of eager tasks are written all the same"),
    "result_expires": Setting(
        timedelta(days=1), values.seconds, "seconds results are kept at least; None or 0 is for ever"
    ),
    "worker_concurrency": Setting(None, values.count, "how many tasks at once; None or 0 is the worker's own choice"),
    "worker_pool": Setting("prefork", values.text, "prefork, threads, solo, asyncio, gevent or eventlet"),
    "worker_max_tasks_per_child": Setting(None, values.count, "tasks after which a child process is replaced"),
    "worker_max_memory_per_child": Setting(None, values.count, "kilobytes after which a child process is replaced"),
    "worker_disable_rate_limits": Setting(False, values.flag, "the limits in the code do not count"),
    "worker_soft_shutdown_timeout": Setting(
        0.0, values.seconds, "seconds that running tasks get before a cold shutdown"
    ),
    "worker_hijack_root_logger": Setting(True, values.flag, "False leaves the root logger as the program set it up"),
    "worker_log_format": Setting(
        None, values.text, "the form of a log line, as logging.Formatter has it; None is pmtq's"
    ),
    "worker_task_log_format": Setting(None, values.text, "the same for lines a task logs"),
    "worker_redirect_stdouts": Setting(True, values.flag, "what tasks print is logged"),
    "worker_redirect_stdouts_level": Setting("WARNING", values.text, "the level it is logged at"),
    "beat_schedule": Setting({}, values.mapping, "the periodic tasks, by a name of your choice"),
    "beat_max_loop_interval": Setting(
        0, values.seconds, "seconds beat sleeps at most; 0 is until the next task is due"
    ),
    "beat_cron_starting_deadline": Setting(
        None, values.seconds, "seconds after which a missed crontab run is left out"
    ),
}
_DIFFERENT = {
    "accept_content": Setting(["json"], values.content, "json must be among them; nothing else is ever read"),
    "result_backend": Setting(
        None, values.text, "results stand in the queue folder beside the calls; disabled:// keeps none"
    ),
    "result_extended": Setting(
        False, values.flag, "a task's name and arguments stand in the queue file in any case, until that is cleared"
    ),
    "task_acks_late": Setting(
        True, values.flag, "True is the default: a task whose worker died runs again; False starts it once at most"
    ),
    "task_reject_on_worker_lost": Setting(
        None,
        values.flag,
        "a task whose worker died runs again unless task_acks_late is False; after three times it failed",
    ),
    "task_default_rate_limit": Setting(
        None, values.rate, "starts in all workers of the folder together, where Celery counts each worker for itself"
    ),
    "task_allow_error_cb_on_chord_header": Setting(
        False, values.flag, "the failure callback of a chord hears of its header in any case, and once"
    ),
    "task_store_errors_even_if_ignored": Setting(
        False, values.flag, "what went wrong is always written: a task that failed must be there to be found"
    ),
    "task_track_started": Setting(True, values.flag, "STARTED is always written: it is how a task is claimed"),
    "task_send_sent_event": Setting(
        False, values.flag, "the lines of the files are the events, so there is always one"
    ),
    "worker_send_task_events": Setting(
        False, values.flag, "the lines of the files are the events, so there always are"
    ),
    "beat_schedule_filename": Setting(None, values.path, "the file is JSON; None is schedule.json in the queue folder"),
}
_NO_CONNECTION = "a folder is no connection that is made, kept or lost"
_AT_ONCE = "a call is in the file when delay returns, or it is an error"
_IGNORED = {
    "broker_transport_options": Setting({}, values.anything, _NO_CONNECTION),
    "broker_pool_acquire_timeout": Setting(None, values.anything, _NO_CONNECTION),
    "worker_cancel_long_running_tasks_on_connection_loss": Setting(False, values.anything, _NO_CONNECTION),
    "task_publish_retry": Setting(True, values.anything, _AT_ONCE),
    "task_publish_retry_policy": Setting(
        {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2}, values.anything, _AT_ONCE
    ),
    "task_acks_on_failure_or_timeout": Setting(
        True, values.anything, "a task that failed is done with; autoretry_for is how it is tried again"
    ),
    "result_chord_join_timeout": Setting(
        3.0, values.anything, "nothing joins: the body of a chord is claimed when its header is done"
    ),
    "worker_prefetch_multiplier": Setting(
        4, values.anything, "a worker claims about 5 ms of work at a time, and gives back what it cannot begin soon"
    ),
    "worker_state_db": Setting(
        None, values.anything, "revoked tasks stand in results.jsonl, so a restart forgets none"
    ),
    "beat_scheduler": Setting("", values.anything, "there is one scheduler; it keeps its times in a JSON file"),
}

_OTHERS = {
    _NO_CONNECTION: """
        broker_channel_error_retry broker_connection_max_retries broker_connection_retry broker_connection_retry_on_startup
        broker_connection_timeout broker_failover_strategy broker_heartbeat broker_heartbeat_checkrate broker_host
        broker_login_method broker_password broker_pool_limit broker_port broker_read_url broker_transport broker_use_ssl
        broker_user broker_vhost broker_write_url
    """,
    "a queue is a file, and has neither exchanges nor kinds": """
        broker_native_delayed_delivery_queue_type task_create_missing_queue_exchange_type task_create_missing_queue_type
        task_default_exchange task_default_exchange_type task_default_queue_type task_default_routing_key
        task_queue_max_priority worker_detect_quorum_queues worker_direct
    """,
    "every call stands in a file that a person can read": "task_compression task_default_delivery_mode task_protocol",
    "results stand in results.jsonl, one line each, and are found by id": """
        result_backend_always_retry result_backend_base_sleep_between_retries_ms result_backend_max_retries
        result_backend_max_sleep_between_retries_ms result_backend_transport_options result_cache_max result_chord_expires
        result_chord_retry_interval result_compression result_exchange result_exchange_type result_failure_expires
        result_persistent
    """,
    "results stand in the queue folder, not in another store": """
        arangodb_backend_settings azureblockblob_base_path azureblockblob_connection_timeout azureblockblob_container_name
        azureblockblob_read_timeout azureblockblob_retry_increment_base azureblockblob_retry_initial_backoff_sec
        azureblockblob_retry_max_attempts cache_backend cache_backend_options cassandra_auth_kwargs cassandra_auth_provider
        cassandra_bundle_path cassandra_entry_ttl cassandra_keyspace cassandra_options cassandra_port
        cassandra_read_consistency cassandra_servers cassandra_table cassandra_write_consistency
        cosmosdbsql_collection_name cosmosdbsql_consistency_level cosmosdbsql_database_name cosmosdbsql_max_retry_attempts
        cosmosdbsql_max_retry_wait_time couchbase_backend_settings database_create_tables_at_setup
        database_engine_callback database_engine_options database_short_lived_sessions database_table_names
        database_table_schemas database_url elasticsearch_max_retries elasticsearch_retry_on_timeout
        elasticsearch_save_meta_as_text elasticsearch_timeout gcs_base_path gcs_bucket gcs_project gcs_ttl
        mongodb_backend_settings redis_backend_use_ssl redis_db redis_host redis_max_connections redis_password redis_port
        redis_retry_on_timeout redis_socket_connect_timeout redis_socket_keepalive redis_socket_timeout redis_username
        s3_access_key_id s3_base_path s3_bucket s3_endpoint_url s3_region s3_secret_access_key
    """,
    "messages are lines of a file; whoever can write the folder is trusted": """
        security_cert_store security_certificate security_digest security_key security_key_password
    """,
    "what workers are told stands in the files, and every worker reads them": """
        beat_enable_remote_control beat_remote_control_max_tick_age control_exchange control_queue_durable
        control_queue_exclusive control_queue_expires control_queue_ttl worker_enable_remote_control
    """,
    "the lines of the files are the events": """
        event_exchange event_queue_durable event_queue_exclusive event_queue_expires event_queue_prefix event_queue_ttl
        event_serializer
    """,
    "a task that failed is done with; autoretry_for is how it is tried again": "task_acks_on_failure task_acks_on_timeout",
    "a worker that died is known by its lock, at once, and its task runs again": """
        task_retry_on_worker_lost worker_lost_wait worker_proc_alive_timeout
    """,
    "a task with a final state is never claimed again": "worker_deduplicate_successful_tasks",
    "exceptions come back as their own type, with the worker's traceback as text": "task_remote_tracebacks",
    "arguments are shown as they stand in the file": "task_repr_maxlevels",
    "a worker reads its queues as it goes, and holds few tasks in memory": """
        worker_disable_prefetch worker_enable_prefetch_count_reduction worker_eta_task_limit
    """,
    "the worker has one build, without parts to be exchanged": """
        worker_agent worker_autoscaler worker_consumer worker_pool_putlocks worker_pool_restarts worker_pool_start_method
        worker_timer worker_timer_precision
    """,
    "an idle worker ends when it is told to; there is nothing to wait for": "worker_enable_soft_shutdown_on_idle",
    "the time in a log line has one form, and colours are for terminals": """
        worker_log_color worker_log_datefmt worker_task_log_datefmt
    """,
    "the schedule is written whenever it changes": "beat_sync_every",
}

SETTINGS = _HONOURED | _DIFFERENT | _IGNORED
"""The settings that have a default and a check of their own."""
HONOURED = {name: setting.note for name, setting in _HONOURED.items()}
DIFFERENT = {name: setting.note for name, setting in _DIFFERENT.items()}
IGNORED = {name: setting.note for name, setting in _IGNORED.items()} | {
    name: reason for reason, names in _OTHERS.items() for name in names.split()
}
KNOWN = frozenset(HONOURED) | frozenset(DIFFERENT) | frozenset(IGNORED)

_PREFIXES = {
    "CELERYBEAT_": ("beat_",),
    "CELERYD_": ("worker_", ""),
    "CELERY_": ("", "task_", "worker_"),
    "BROKER_": ("broker_",),
    "PMTQ_": ("",),
}
"""What stands before a name in capital letters, and what that may be short for."""
_OLD_NAMES = {
    "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
    "CELERY_MAX_CACHED_RESULTS": "result_cache_max",
    "CELERY_MESSAGE_COMPRESSION": "task_compression",
    "CELERY_RESULT_DBURI": "database_url",
    "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS": "database_short_lived_sessions",
    "CELERY_RESULT_DB_TABLENAMES": "database_table_names",
    "CELERY_RESULT_ENGINE_OPTIONS": "database_engine_options",
    "CELERY_SEND_EVENTS": "worker_send_task_events",
    "CELERY_SEND_TASK_SENT_EVENT": "task_send_sent_event",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
    "CELERYD_WORKER_LOST_WAIT": "worker_lost_wait",
    "ENABLE_UTC": "enable_utc",
    "RESULT_ACCEPT_CONTENT": "result_accept_content",
    "TIME_ZONE": "timezone",  # Django's, which Celery reads too
}
"""Names in capital letters that no prefix explains."""


def setting_name(key: str) -> str:
    """Return the name that a key means: ``CELERY_ALWAYS_EAGER`` is ``task_always_eager``; unknown ones mean themselves."""
    if key in KNOWN:
        return key
    if key in _OLD_NAMES:
        return _OLD_NAMES[key]
    for prefix, stems in _PREFIXES.items():
        if key.startswith(prefix):
            rest = key.removeprefix(prefix).lower()
            return next((stem + rest for stem in stems if stem + rest in KNOWN), key)
    return key
