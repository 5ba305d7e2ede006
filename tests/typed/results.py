"""A promise knows the type of what is promised."""

from typing import Any, assert_type

from pmtq import PMTQ, AsyncResult, Task

app = PMTQ("shop")


@app.task
def add(x: int, y: int = 0) -> int:
    """Return a value."""
    return x + y


@app.task(name="shop.ship", queue="parcels")
def ship(order: str) -> None:
    """Return none."""


@app.task
async def fetch(url: str) -> bytes:
    """Return a value later."""
    return url.encode()


@app.task(time_limit=10)
async def fetch_all(*urls: str) -> list[bytes]:
    """Return values later."""
    return [await fetch(url) for url in urls]


assert_type(add.delay(1, 2), AsyncResult[int])
assert_type(add.delay(1, 2).get(timeout=5), int)
assert_type(add.apply_async((1, 2), countdown=10).get(), int)
assert_type(ship.delay("17"), AsyncResult[None])

assert_type(fetch.delay("/"), AsyncResult[bytes])
assert_type(fetch.apply_async(["/"]).get(), bytes)
assert_type(fetch_all.delay("/", "/a").get(), list[bytes])

assert_type(app.send_task("shop.elsewhere"), AsyncResult[Any])
assert_type(app.AsyncResult("45bc8d").get(), Any)

text: str = add.delay(1, 2).get()  # error: assignment
fetch.delay(1)  # error: call-overload
fetch_all.delay("/", 2)  # error: call-overload


async def use() -> None:
    """Call a coroutine function directly, as if it were no task."""
    assert_type(await fetch("/"), bytes)
    await add(1, 2)  # error: misc


def use_any(task: Task[..., Any]) -> None:
    """Call a task of which nothing is known."""
    assert_type(task.delay(1, two=2), AsyncResult[Any])
    assert_type(task.apply_async(), AsyncResult[Any])
