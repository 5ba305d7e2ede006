res = chain(add.si(2, 2)|add.si(4, 4)|add.si(8, 8))()
res.get()
res.parent.get()
res.parent.parent.get()
