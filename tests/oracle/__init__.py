"""What real Celery makes of some shapes: ``python -m tests.oracle`` writes it down anew, where Celery is installed."""
