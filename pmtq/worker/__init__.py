"""The worker: claims tasks, runs them, settles them. ``supervisor`` is its door.

One task after the other: ``consumer`` is the loop, with ``overdue`` beside it; ``many`` is the one that runs many at once,
and ``pace`` slows a worker down so that a person can follow it.

One worker: ``plan`` says what it is to do, ``naming`` what it is called, ``ending`` what signals mean to it, ``commands``
what may be changed while it runs. ``alone`` is a worker in one process; ``pool`` one that looks after children, which are
processes (``prefork``) or ``threads``. What a child is doing stands on its ``board``; by that ``overtime`` ends one whose task
takes too long, and ``autoscale`` decides how many there should be. ``telling`` tells receivers of what was never run to its
end.
"""
