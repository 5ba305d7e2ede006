"""Helpers that programs written for Celery import from ``celery.utils``."""
