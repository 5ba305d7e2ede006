"""A web program that has pictures resized elsewhere, and answers before that is done; it has none of the service's code."""

from flask import Flask, jsonify, request, url_for

from pmtq import PMTQ

app = Flask(__name__)
queue = PMTQ("pictures_web")


@app.post("/pictures")
def upload():
    asked = queue.send_task("Image.resize", kwargs=request.get_json())
    return jsonify({}), 202, {"Location": url_for("status", task_id=asked.id)}


@app.get("/status/<task_id>")
def status(task_id):
    asked = queue.AsyncResult(task_id)
    return jsonify({"state": asked.state, "url": asked.result if asked.successful() else None})
