# Decorating functions with Celery to run as background tasks
@celery.task
def my_background_task(arg1, arg2):
    # some long running task here
    return result
    
task = my_background_task.delay(10, 20)                                 # shortcut to more powerful apply_async() method
task = my_background_task.apply_async(args=[10, 20], countdown=60)      # runs every 60s
