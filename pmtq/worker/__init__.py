"""The worker: claims tasks, runs them, settles them.

``consumer`` is the loop of one process, ``execute`` runs one task, ``supervisor`` keeps several such processes, and
``pace`` slows a worker down so that a person can follow it.
"""
