task = task_function.AsyncResult(task_id)
