"""Serves a web program on a free port of this machine, and prints which."""

from werkzeug.serving import make_server


def serve(app):
    server = make_server("127.0.0.1", 0, app)
    print(server.port, flush=True)
    server.serve_forever()
