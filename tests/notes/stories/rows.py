"""Inserts rows into a database, each in a task of its own; nothing but the queue keeps a row from standing there twice."""

import sqlite3
from contextlib import closing

from pmtq import PMTQ

app = PMTQ("rows")


def database():
    connection = sqlite3.connect("rows.sqlite", timeout=30)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE IF NOT EXISTS readings (number INTEGER)")
    return closing(connection)


@app.task
def insert(number):
    with database() as connection, connection:
        connection.execute("INSERT INTO readings VALUES (?)", [number])
