"""A call carries the signature of the function."""

from typing import assert_type

from pmtq import PMTQ, Task

app = PMTQ("shop")


@app.task
def add(x: int, y: int = 0) -> int:
    """Have a bare decorator."""
    return x + y


@app.task(name="shop.ship", queue="parcels")
def ship(order: str, *, express: bool = False) -> list[str]:
    """Have a decorator with options."""
    return [order] * express


assert_type(add(1, y=2), int)
assert_type(ship("17", express=True), list[str])
add.delay(1)
add.delay(1, 2)
add.delay(x=1, y=2)
ship.delay("17", express=True)
add.apply_async((1, 2), countdown=10)
add.apply_async(args=[1], kwargs={"y": 2}, queue="high")

add.delay()  # error: call-arg
add.delay("one")  # error: arg-type
add.delay(1, 2, 3)  # error: call-arg
add.delay(1, z=2)  # error: call-arg
add("one")  # error: arg-type
ship.delay("17", True)  # error: call-arg
ship.delay(17, express="yes")  # error: arg-type
print(add.nothing)  # error: attr-defined
add.apply_async(1)  # error: arg-type
app.task(1)  # error: call-overload


def takes_any(task: Task[[int, int], int]) -> None:
    """Take a task as an argument."""
    task.delay(1, 2)
    task.delay("one", 2)  # error: arg-type
