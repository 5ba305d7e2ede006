"""A web program of the kind the note links to: it has mails sent by a worker, now or a minute from now."""

from email.message import EmailMessage
from pathlib import Path

from flask import Flask, redirect, request, url_for

from pmtq import Celery

app = Flask(__name__)
app.config["SECRET_KEY"] = "hush"
app.config["MAIL_SENDER"] = "flask@example.com"
app.config["CELERY_BROKER_URL"] = "redis://localhost:6379/0"
app.config["CELERY_RESULT_BACKEND"] = "redis://localhost:6379/0"

celery = Celery(app.name, broker=app.config["CELERY_BROKER_URL"])
celery.conf.update(app.config)


@celery.task
def send_mail(to, subject):
    """Send a mail; it needs the web program's settings, so it asks for its context."""
    with app.app_context():
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = app.config["MAIL_SENDER"], to, subject
        Path("outbox").mkdir(exist_ok=True)
        Path("outbox", f"{subject}.eml").write_bytes(bytes(mail))


@app.route("/", methods=["GET", "POST"])
def index():
    if request.method == "GET":
        return "to whom?"
    mail = {"to": request.form["email"], "subject": request.form["submit"]}
    if request.form["submit"] == "Send":
        send_mail.delay(**mail)
    else:
        send_mail.apply_async(kwargs=mail, countdown=60)
    return redirect(url_for("index"))
