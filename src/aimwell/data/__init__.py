"""Step 2, data: sources become the tables that every later step reads, and nothing is lost on the way.

Reads the user's files; writes ``customers``, ``products``, ``order_lines``, ``events``, ``consents``,
``sources``, ``rejects`` and ``quality``. The path of the data is the order of the modules: ``encoding`` and
``dialect`` → ``records`` → ``sources`` → ``profile`` → ``mapping`` → ``parsing`` → ``intake`` →
``loading`` → ``quality``; ``step`` is the public door.
"""
