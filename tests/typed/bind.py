"""A task that gets itself as its first argument is called without it."""

from typing import Any, assert_type

from pmtq import PMTQ, AsyncResult, Task

app = PMTQ("shop")


@app.task(bind=True)
def ship(self: Task[..., Any], order: str, express: bool = False) -> int:
    """Say what the first argument is."""
    return len(f"{self.name}{order}{express}")


@app.task(bind=True, name="shop.weigh")
def weigh(self, order: str) -> float:  # type: ignore[no-untyped-def]
    """Leave it unsaid."""
    return float(order)


@app.task(bind=True, max_retries=5)
async def fetch(self: Task[..., Any], url: str) -> bytes:
    """Be a coroutine function besides."""
    return f"{self.name}{url}".encode()


@app.task(bind=False)
def add(x: int, y: int) -> int:
    """Say that it does not get itself."""
    return x + y


assert_type(ship.delay("17"), AsyncResult[int])
assert_type(ship.delay("17", express=True).get(), int)
assert_type(ship("17"), int)
assert_type(weigh.delay("17").get(), float)
assert_type(fetch.delay("/").get(), bytes)
assert_type(add.delay(1, 2).get(), int)

ship.delay()  # error: call-arg
ship.delay(17)  # error: arg-type
ship.delay(ship, "17")  # error: arg-type
weigh.delay("17", "18")  # error: call-arg
fetch.delay(url=1)  # error: call-overload
add.delay(1)  # error: call-arg


@app.task(bind=True)  # error: arg-type
def nothing_to_bind() -> None:
    """Lack the argument that it is to get."""
