# tasks.py
from celery import Celery 

app = Celery('tasks', broker='amqp://guest@localhost//')

@app.task
def zombocom():
    return "Welcome to ZomboCom. You can do anything at ZomboCom..."
