"""A receiver keeps its type when it is connected."""

from typing import Any, assert_type

from pmtq.signals import task_failure, task_prerun


@task_prerun.connect
def before(sender: object, **kwargs: Any) -> int:
    """Have a bare decorator."""
    return len(kwargs)


@task_failure.connect(sender="shop.ship", weak=False, dispatch_uid="mails")
def failed(exception: BaseException, **kwargs: Any) -> str:
    """Have a decorator with options."""
    return str(exception)


assert_type(before(None), int)
assert_type(failed(ValueError()), str)
assert_type(task_prerun.connect(before, sender="shop.ship")(None), int)
before(None, 1)  # error: call-arg
assert_type([said for _, said in task_prerun.send(None)], list[Any])

task_prerun.connect("shop.ship")  # error: call-overload
task_prerun.connect(before, sendr="shop.ship")  # error: call-overload
