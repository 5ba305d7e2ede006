# celery.py
from celery import Celery
app = Celery('proj', 
             broker='ampq://',
             backend='ampq://',
             include=['proj.tasks'])

app.conf.update(...)

if __name__ == '__main__':
    app.start()
    
# tasks.py
@app.task
def add(x, y):
    return x + y

@app.task
def mult(x, y):
    return x * y
