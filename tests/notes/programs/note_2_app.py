app = Celery('<current_module_name>', include=[''], broker='<message_broker_URL>')
