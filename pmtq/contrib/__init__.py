"""What joins pmtq to other people's tools; each module needs the tool that it is named after.

``pytest`` has fixtures for tests: an app on a temporary folder, a worker in a thread, a clock to move.
"""
