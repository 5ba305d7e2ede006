"""The names that Celery 5.7 has: of commands and options, settings, signals, events, attributes, exceptions.

They are facts about Celery, and say nothing about pmtq: what there is of them here is asked of the code.
"""

OPTIONS = {
    "": """
        --config --loader --result-backend --skip-checks --version --workdir -A/--app -b/--broker -C/--no-color
        -q/--quiet --help
    """.split(),
    "amqp": [],
    "beat": """
        --detach --enable-remote-control/--no-enable-remote-control --executable --gid --max-interval --pidfile
        --uid --umask -f/--logfile -l/--loglevel -n/--hostname -s/--schedule -S/--scheduler
    """.split(),
    "call": """
        --countdown --eta --exchange --expires --queue --routing-key --serializer -a/--args -k/--kwargs
    """.split(),
    "control": """
        --list -d/--destination -j/--json -t/--timeout
    """.split(),
    "events": """
        --executable --gid --pidfile --uid --umask -c/--camera --detach -d/--dump -F/--freq/--frequency -f/--logfile
        -l/--loglevel -r/--maxrate
    """.split(),
    "graph": [],
    "inspect": """
        --list -d/--destination -j/--json -t/--timeout
    """.split(),
    "list": [],
    "logtool": [],
    "migrate": """
        -a/--ack-messages -F/--forever -n/--limit -Q/--queues -T/--tasks -t/--timeout
    """.split(),
    "multi": """
        --logfile --pidfile --range-prefix
    """.split(),
    "purge": """
        -f/--force -Q/--queues -X/--exclude-queues
    """.split(),
    "report": [],
    "result": """
        --traceback -t/--task
    """.split(),
    "shell": """
        --eventlet --gevent --python -B/--bpython -I/--ipython -T/--without-tasks
    """.split(),
    "status": """
        -d/--destination -j/--json -t/--timeout
    """.split(),
    "upgrade": [],
    "worker": """
        --autoscale --disable-prefetch --discard/--purge --executable --gid --heartbeat-interval
        --max-memory-per-child --max-tasks-per-child --pidfile --pool-start-method --prefetch-multiplier --scheduler
        --soft-time-limit --time-limit --uid --umask --without-gossip --without-heartbeat --without-mingle -B/--beat
        -c/--concurrency -D/--detach -E/--events/--task-events -f/--logfile -I/--include -l/--loglevel -n/--hostname
        -O/--optimization -P/--pool -Q/--queues -s/--schedule/--schedule-filename -S/--statedb -X/--exclude-queues
    """.split(),
}
"""By command the options, with all that each is called; those of the program itself stand under the empty name."""
SUBCOMMANDS = {
    "amqp": """
        basic.ack basic.get basic.publish exchange.declare exchange.delete queue.bind queue.declare queue.delete
        queue.purge repl
    """.split(),
    "control": """
        add_consumer autoscale cancel_consumer disable_events election enable_events heartbeat pool_grow
        pool_restart pool_shrink rate_limit revoke revoke_by_stamped_headers shutdown terminate time_limit
    """.split(),
    "graph": """
        bootsteps workers
    """.split(),
    "inspect": """
        active active_queues clock conf hello memdump memsample objgraph ping query_task registered report reserved
        revoked scheduled stats
    """.split(),
    "list": """
        bindings
    """.split(),
    "logtool": """
        debug errors incomplete stats traces
    """.split(),
    "multi": """
        expand get help kill names restart show start stop stopwait
    """.split(),
    "upgrade": """
        settings
    """.split(),
}
"""By command, what stands behind its name: ``inspect active``."""
SETTINGS = """
    accept_content arangodb_backend_settings azureblockblob_base_path azureblockblob_connection_timeout
    azureblockblob_container_name azureblockblob_read_timeout azureblockblob_retry_increment_base
    azureblockblob_retry_initial_backoff_sec azureblockblob_retry_max_attempts beat_cron_starting_deadline
    beat_enable_remote_control beat_max_loop_interval beat_remote_control_max_tick_age beat_schedule
    beat_schedule_filename beat_scheduler beat_sync_every broker_channel_error_retry broker_connection_max_retries
    broker_connection_retry broker_connection_retry_on_startup broker_connection_timeout broker_failover_strategy
    broker_heartbeat broker_heartbeat_checkrate broker_host broker_login_method
    broker_native_delayed_delivery_queue_type broker_password broker_pool_acquire_timeout broker_pool_limit
    broker_port broker_read_url broker_transport broker_transport_options broker_url broker_use_ssl broker_user
    broker_vhost broker_write_url cache_backend cache_backend_options cassandra_auth_kwargs cassandra_auth_provider
    cassandra_bundle_path cassandra_entry_ttl cassandra_keyspace cassandra_options cassandra_port
    cassandra_read_consistency cassandra_servers cassandra_table cassandra_write_consistency control_exchange
    control_queue_durable control_queue_exclusive control_queue_expires control_queue_ttl
    cosmosdbsql_collection_name cosmosdbsql_consistency_level cosmosdbsql_database_name
    cosmosdbsql_max_retry_attempts cosmosdbsql_max_retry_wait_time couchbase_backend_settings
    database_create_tables_at_setup database_engine_callback database_engine_options database_short_lived_sessions
    database_table_names database_table_schemas database_url elasticsearch_max_retries
    elasticsearch_retry_on_timeout elasticsearch_save_meta_as_text elasticsearch_timeout enable_utc event_exchange
    event_queue_durable event_queue_exclusive event_queue_expires event_queue_prefix event_queue_ttl
    event_serializer gcs_base_path gcs_bucket gcs_project gcs_ttl imports include mongodb_backend_settings
    redis_backend_use_ssl redis_db redis_host redis_max_connections redis_password redis_port redis_retry_on_timeout
    redis_socket_connect_timeout redis_socket_keepalive redis_socket_timeout redis_username result_accept_content
    result_backend result_backend_always_retry result_backend_base_sleep_between_retries_ms
    result_backend_max_retries result_backend_max_sleep_between_retries_ms result_backend_transport_options
    result_cache_max result_chord_expires result_chord_join_timeout result_chord_retry_interval result_compression
    result_exchange result_exchange_type result_expires result_extended result_failure_expires result_persistent
    result_serializer s3_access_key_id s3_base_path s3_bucket s3_endpoint_url s3_region s3_secret_access_key
    security_cert_store security_certificate security_digest security_key security_key_password task_acks_late
    task_acks_on_failure task_acks_on_failure_or_timeout task_acks_on_timeout task_allow_error_cb_on_chord_header
    task_always_eager task_annotations task_compression task_create_missing_queue_exchange_type
    task_create_missing_queue_type task_create_missing_queues task_default_delivery_mode task_default_exchange
    task_default_exchange_type task_default_priority task_default_queue task_default_queue_type
    task_default_rate_limit task_default_routing_key task_eager_propagates task_ignore_result
    task_inherit_parent_priority task_protocol task_publish_retry task_publish_retry_policy task_queue_max_priority
    task_queues task_reject_on_worker_lost task_remote_tracebacks task_repr_maxlevels task_retry_on_worker_lost
    task_routes task_send_sent_event task_serializer task_soft_time_limit task_store_eager_result
    task_store_errors_even_if_ignored task_time_limit task_track_started timezone worker_agent worker_autoscaler
    worker_cancel_long_running_tasks_on_connection_loss worker_concurrency worker_consumer
    worker_deduplicate_successful_tasks worker_detect_quorum_queues worker_direct worker_disable_prefetch
    worker_disable_rate_limits worker_enable_prefetch_count_reduction worker_enable_remote_control
    worker_enable_soft_shutdown_on_idle worker_eta_task_limit worker_hijack_root_logger worker_log_color
    worker_log_datefmt worker_log_format worker_lost_wait worker_max_memory_per_child worker_max_tasks_per_child
    worker_pool worker_pool_putlocks worker_pool_restarts worker_pool_start_method worker_prefetch_multiplier
    worker_proc_alive_timeout worker_redirect_stdouts worker_redirect_stdouts_level worker_send_task_events
    worker_soft_shutdown_timeout worker_state_db worker_task_log_datefmt worker_task_log_format worker_timer
    worker_timer_precision
""".split()
"""What may be set in ``app.conf``."""

SIGNALS = """
    after_setup_logger after_setup_task_logger after_task_publish beat_embedded_init beat_init before_task_publish
    celeryd_after_setup celeryd_init eventlet_pool_apply eventlet_pool_postshutdown eventlet_pool_preshutdown
    eventlet_pool_started heartbeat_sent import_modules setup_logging task_failure task_internal_error task_postrun
    task_prerun task_received task_rejected task_retry task_revoked task_sent task_success task_unknown
    user_preload_options worker_before_create_process worker_init worker_process_init worker_process_shutdown
    worker_ready worker_shutdown worker_shutting_down
""".split()
"""In ``celery.signals``."""

EVENTS = """
    task-failed task-received task-rejected task-retried task-revoked task-sent task-started task-succeeded
    worker-heartbeat worker-offline worker-online
""".split()
"""What ``celery events`` shows."""

TASK = """
    AsyncResult MaxRetriesExceededError OperationalError acks_late acks_on_failure acks_on_failure_or_timeout
    acks_on_timeout add_to_chord after_return app apply apply_async autoretry_for before_start bind chunks
    compression default_retry_delay delay dont_autoretry_for exchange expires ignore_result map max_retries name
    on_bound on_failure on_replace on_retry on_success priority pydantic queue rate_limit reject_on_worker_lost
    replace request retry retry_backoff retry_backoff_max retry_jitter retry_kwargs retry_on_worker_lost routing_key
    run s send_event send_events serializer shadow_name si signature soft_time_limit starmap
    store_errors_even_if_ignored subtask throws time_limit track_started typing update_state
""".split()
"""Attributes and methods of a task."""

REQUEST = """
    args as_execution_options callbacks called_directly chain children chord correlation_id delivery_info errbacks
    eta expires get group group_index headers hostname id ignore_result is_eager kwargs logfile loglevel origin
    parent_id properties replaced_task_nesting reply_to retries root_id shadow soft_time_limit stamped_headers
    stamps task time_limit timelimit utc
""".split()
"""Of ``self.request``."""

ASYNC_RESULT = """
    TimeoutError app args as_list as_tuple backend build_graph children collect date_done exists failed forget get
    get_leaf graph id ignored info iterdeps kwargs maybe_reraise maybe_throw name parent queue ready result retries
    revoke revoke_by_stamped_headers state status successful supports_native_join task_id then throw traceback wait
    worker
""".split()
"""Of an ``AsyncResult``."""

RESULT_SET = """
    add app backend clear completed_count discard failed forget get iter_native iterate join join_native
    maybe_reraise maybe_throw parent ready remove results revoke successful supports_native_join then update waiting
""".split()
"""Of a ``ResultSet``."""

GROUP_RESULT = """
    as_tuple children delete id restore save
""".split()
"""Of a ``GroupResult``, besides what a ``ResultSet`` has."""

APP = """
    AsyncResult Beat GroupResult ResultSet Task WorkController Worker add_defaults add_periodic_task amqp
    autodiscover_tasks backend broker_connection bugreport close conf config_from_cmdline config_from_envvar
    config_from_object connection connection_for_read connection_for_write connection_or_acquire control
    current_task current_worker_task events finalize gen_task_name loader log main now oid on_after_configure
    on_after_finalize on_after_fork on_configure on_init pool producer_or_acquire producer_pool register_task
    select_queues send_task set_current set_default setup_security signature start steps task tasks timezone
    user_options uses_utc_timezone worker_main
""".split()
"""Attributes and methods of an app."""

EXCEPTIONS = """
    AlreadyRegistered BackendError BackendGetMetaError BackendStoreError CeleryCommandException CeleryError
    ChordError Ignore ImproperlyConfigured IncompleteStream InvalidTaskError MaxRetriesExceededError NotRegistered
    OperationalError QueueNotFound Reject Retry SecurityError SoftTimeLimitExceeded TaskError TaskPredicate
    TaskRevokedError Terminated TimeLimitExceeded TimeoutError WorkerLostError
""".split()
"""In ``celery.exceptions``, without the warnings."""

CALL_OPTIONS = """
    add_to_parent args chord compression connection correlation_id countdown delivery_mode eta exchange expires
    group_id group_index headers ignore_result immediate kwargs link link_error mandatory origin parent_id priority
    producer publisher queue reply_to retry retry_policy root_id routing_key serializer shadow soft_time_limit
    task_id task_type time_limit
""".split()
"""Of ``apply_async``."""
