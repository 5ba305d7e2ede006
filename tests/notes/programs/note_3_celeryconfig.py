# celeryconfig.py
broker_url = 'pyamqp://'
result_backend = 'rpc://'

task_serializer = 'json'
result_serializer = 'json'
accept_content = ['json']
timezone = 'Europe/Oslo'
enable_utc = True

task_routes = {
    'tasks.add': 'low-priority'
}

task_annotations = {
    'tasks.add': {'rate_limit': '10/m'}
}

# tasks.py
app.config_from_object('celeryconfig')
