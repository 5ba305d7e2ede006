"""What the reference page says besides what the code tells: why a name of Celery's is different here, or absent.

By table of the page the reason, and the names it holds for. Settings, signals and the options of calls have their reasons
where they are defined (``pmtq.defaults``, ``pmtq.signals``, ``pmtq.call_options``), and an option of a command that is
accepted and does nothing says so in its help.
"""

_DAEMON = "it stays in its terminal, and writes to stdout: pmtq events > events.txt &"
_CONNECTION = "a folder is no connection that is made, kept or lost"
_STAMPS = "nothing is stamped; a call's headers are its own: `control.revoke_by_headers`"
_SETTLED = "a task that failed is done with; `autoretry_for` is how it is tried again"

DIFFERENT: dict[str, dict[str, str]] = {
    "Commands": {
        "each event is a line on stdout, or JSON with --json; there is no full-screen view and no camera": "events",
        "one queue is one file, and nothing binds it to anything: it says so": "bindings",
        "its number is the size of results.jsonl: the order of lines in that file is the clock": "clock",
        "waiting tasks end as REVOKED, with a line each; they are not deleted without a trace": "purge",
        "accepted: the lines of the files are the events, so there always are": "enable_events disable_events",
        "accepted: workers elect nobody, and have no heartbeat; the folder says who lives": "election heartbeat",
        "holds for all workers of the folder together, also for those that start later": """
            rate_limit time_limit revoke terminate""",
        "answers at once from the folder's files, and needs no worker that has time to answer": "inspect status",
    },
    "pmtq": {"the queue folder, file:///path; it counts more than what the code says": "--broker"},
    "pmtq worker": {
        "1 by default, not the number of cores: the first worker should show one task after the other": "--concurrency",
        "solo for -c 1, else prefork; asyncio is a pool of its own, for async def tasks": "--pool",
        "the file is JSON, schedule.json in the queue folder by default": "--schedule-filename",
    },
    "pmtq beat": {"the file is JSON, schedule.json in the queue folder by default": "--schedule"},
    "pmtq events": {"how often it looks at least, in seconds; a change of the files wakes it at once": "--frequency"},
    "The app": {
        "a `Backend` that reads the results file": "backend",
    },
    "Tasks": {
        "True by default (Celery: False): a task whose worker died runs again": "acks_late",
        "starts in all workers of the folder together, where Celery counts each worker for itself": "rate_limit",
        "accepted: what went wrong is always written down": "store_errors_even_if_ignored",
        "only json; a call of a task that asks for another one is refused": "serializer",
        "a state of the name that you choose, which `pmtq events` shows; the fields are its meta": "send_event",
        "a coroutine function is a task too (`async def`); arguments are checked with its signature": "run",
        "the task goes on under its own id as another one, whatever shape that has": "replace on_replace",
        "one record of the function itself, so that it is routed and limited like any call of it": "map starmap",
    },
    "Calls": {
        "only json": "serializer",
        "a task that waits for the failure; it hears of the task with which the failure began, and once": "link_error",
    },
    "The request": {
        "text, as there, with a Z for UTC": "eta expires",
        "the same as `id`": "correlation_id",
        "the same as `delivery_info`: a line has no envelope": "properties",
        "always None: any program may have written the line": "origin",
        "an empty dict where Celery has None": "headers",
        "the ids of the tasks it has posted so far": "children",
        "the call's own ones; those of the task are attributes of the task": "time_limit soft_time_limit timelimit",
        "only whether the call itself asked for it": "ignore_result",
    },
    "Results": {
        "a `Backend` that reads the results file": "backend",
        "known as long as the call stands in a queue file, or the result holds it": "name args kwargs queue",
        "True as soon as a call of that id stands in a file; Celery asks for a result": "exists",
        "nothing is polled, so `interval` has no effect, nor has `no_ack`": "get wait",
        "called in a thread of the backend's own, as soon as the line is there": "then",
        "the result is taken off the disk by a worker that is idle": "forget",
    },
    "Several results": {
        "a `Backend` that reads the results file": "backend",
        "one wait for all, woken by the results file; there is no other way": "join_native",
        "always True": "supports_native_join",
    },
    "Results of groups": {"a line of the results, so it ends with them (`result_expires`)": "save restore delete"},
    "Exceptions": {
        "what every step has that was not run because of another one, in a chain too; the message names that one": "ChordError",
        "raised for an exception whose class the reader has not imported, and names it": "TaskError",
        "what `get` raises for a line that is no task record; rejected.jsonl has the line and a remedy": "InvalidTaskError",
        "only its base: `OperationalError` is what is raised, `ResultsDisabled` is one of these": "BackendError",
        "the folder cannot be read or written; the file ends where it ended before": "OperationalError",
        "with `reason` and `requeue`, as there; a call that is refused stays to be found by `pmtq dead`": "Reject",
    },
    "Events": {
        "appears together with task-started: a worker takes a task when it can begin it": "task-received",
        "read off the kernel lock of the worker's file: at once, also after kill -9": "worker-online worker-offline",
        "each is a line in a file at any time, whether anybody listens or not": "task-sent",
    },
}
"""For names that are in the code."""
ABSENT: dict[str, dict[str, str]] = {
    "Commands": {
        "there is no broker to talk to: look into queue_dir/queue.jsonl, which is text": "amqp",
        "it draws the worker's build, which is one loop here": "graph",
        "it counts lines of Celery's log; here grep finds them in results.jsonl": "logtool",
        "to another folder: cp -r queue_dir elsewhere, while no worker runs": "migrate",
        "old names of settings are understood as they are": "upgrade",
        "a worker that starts reads the folder and asks nobody": "hello",
        _STAMPS: "revoke_by_stamped_headers",
    },
    "pmtq": {"for Django, which has its own": "--skip-checks"},
    "pmtq control": {"pmtq control --help shows them, with what each does": "--list"},
    "pmtq events": {_DAEMON: "--executable --gid --pidfile --uid --umask --detach --logfile --loglevel"},
    "pmtq shell": {"a prompt needs no pool": "--eventlet --gevent"},
    "pmtq worker": {"children are forked where the system can do that, else they are spawned": "--pool-start-method"},
    "The app": {
        "import it: `from pmtq.result import …`": "ResultSet",
        "`pmtq beat` starts one, and so does `pmtq worker -B`": "Beat",
        "`pmtq worker` starts one, and so does `app.worker_main([…])`": "Worker WorkController",
        "`app.conf.update(…)`; what the environment sets counts more": "add_defaults config_from_cmdline",
        "`pmtq report`": "bugreport",
        "`pmtq events`; `pmtq.events.Following` in a program": "events",
        _CONNECTION: """amqp broker_connection connection connection_for_read connection_for_write connection_or_acquire pool
            producer_or_acquire producer_pool""",
        "`app.current_task`": "current_worker_task",
        "a task is named after its module and function; `name=` gives it another one": "gen_task_name",
        "`app.conf.zone`": "timezone uses_utc_timezone",
        "there is one way to find apps and modules": "loader",
        "`pmtq.utils.log`; `setup_logging` and its like are signals": "log",
        "an app needs no id: its folder tells it from others": "oid",
        "subclass `PMTQ`, or use the signal `on_configure`": "on_init",
        "`pmtq worker -Q`, or the setting `task_queues`": "select_queues",
        "whoever can write the folder is trusted; nothing in it is code": "setup_security",
        "the worker has one build, without parts to be exchanged": "steps",
        "the command line has no options of yours; read them yourself before `app.start()`": "user_options",
    },
    "Tasks": {
        _SETTLED: "acks_on_failure acks_on_failure_or_timeout acks_on_timeout",
        "a task whose worker died runs again unless `acks_late` is false; after three times it failed": """
            reject_on_worker_lost retry_on_worker_lost""",
        "every call stands in a file that a person can read": "compression",
        "a queue is a file: name it with `queue` or `routing_key`": "exchange",
        "subclass `Task` and override `bind_to`": "on_bound",
        "arguments are what JSON holds; make a model of them in the function: `Order(**data)`": "pydantic",
        "the lines of the files are the events, so there always are": "send_events",
        "STARTED is always written: it is how a task is claimed": "track_started",
    },
    "Calls": {
        "a group's members stand in the group's own record, in order": "group_index",
        "a record names its function": "task_type",
        "a chord is a record that comes after others; nobody need be told": "chord",
    },
    "The request": {
        "use `pmtq.signature`, or post the call again: `self.apply_async(self.request.args, self.request.kwargs)`": """
            as_execution_options""",
        "a group's members are in order in the group's own record": "group_index",
        "they are the worker's: see `pmtq inspect conf`": "logfile loglevel",
        _STAMPS: "stamped_headers stamps",
        "always None: results are found by id": "reply_to",
        "always None: what follows a task stands in its record; `request.followers` has the ids": """
            callbacks chain chord errbacks""",
        "always 0: a task that is replaced goes on under its own id": "replaced_task_nesting",
        "times in files are always in UTC": "utc",
    },
    "Results": {
        _STAMPS: "revoke_by_stamped_headers",
        "it is a question about a broker; waiting is always woken by the file": "supports_native_join",
    },
    "Several results": {
        "a set is no step of a workflow; a `GroupResult` is": "parent",
    },
    "Exceptions": {
        "for `except` only: the later one of two tasks of one name counts": "AlreadyRegistered",
        "`OperationalError`, with the file and the reason": "BackendGetMetaError BackendStoreError",
        "`pmtq.app.PMTQ.start` ends the program with a status": "CeleryCommandException",
        "`PmtqError` is the root of all of them": "CeleryError TaskPredicate",
        "a task that was ended with its process ends as REVOKED": "Terminated",
        "for `except` only: nothing in the folder is code": "SecurityError",
    },
    "Events": {
        "a worker is alive as long as the kernel lock on its file is held; it sends no heartbeat": "worker-heartbeat"
    },
}
"""For names that are not in the code."""
COMING: dict[str, dict[str, str]] = {}
"""For names that are being built; a name that is in the code by now is passed over."""
ONLY_HERE: dict[str, dict[str, str]] = {
    "The app": {
        "the folder, and the URL that names it": "folder broker_url",
        "posts many calls in one write": "send_tasks",
        "a call returns when it would survive a power cut": "durable",
    },
    "Tasks": {
        "a call that a worker comes to while an equal one is under way, or waits for its time, is none": "unique",
        "only the last of several calls within so many seconds runs": "debounce",
        "not twice within so many seconds": "throttle",
        "what it prints and logs is kept, for `pmtq logs`": "keep_output",
        "a call returns when it would survive a power cut": "durable",
    },
    "Calls": {
        "a call returns when it would survive a power cut": "durable",
        "calls of one key are one while the first is owed; the task's `unique` makes it": "unique_key",
        "as the task's, for one call": "debounce throttle",
    },
    "The request": {
        "how often it was started, this time included": "attempt",
        "whether an earlier start ended in its worker's death": "redelivered",
        "when it was posted, RFC 3339": "sent",
        "the queue it was taken from": "queue",
        "the ids of the tasks that wait for this one": "followers",
    },
    "Results": {
        "every try: attempt, worker, when it began and ended, and how": "history",
        "the results of the whole workflow it belongs to; `revoke(workflow=True)` calls all of it off": "workflow",
    },
    "Exceptions": {
        "the root of all errors of pmtq": "PmtqError",
        "an argument or result that JSON has no form for; says where": "NotSerializable",
        "the value of a task was asked for, and `result_backend` is `disabled://`": "ResultsDisabled",
        "a second worker was given the name of a living one": "WorkerNameTaken",
        "a file of the folder is locked by another program for too long": "LockHeld",
        "a name in the folder is no plain file of ours": "UnsafeFile",
        "stands behind a task's exception as its cause: the worker's traceback": "RemoteTraceback",
    },
}
"""Names of pmtq's own that a user may want to know."""
