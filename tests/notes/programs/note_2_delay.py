task.delay(arg1, arg2, kwarg1='x', kwarg2='y')
