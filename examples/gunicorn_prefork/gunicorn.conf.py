"""gunicorn's prefork model: the application is loaded once, in the master, and forked into the workers.

    snapsafe run gunicorn -c examples/gunicorn_prefork/gunicorn.conf.py
    curl http://127.0.0.1:8000/

Look at: app.py registers its callback while the master loads it. The master and every worker inherit it, and each runs
it once after a restore, idle workers too.
"""

import os

chdir = os.path.dirname(os.path.abspath(__file__))
pythonpath = os.path.dirname(chdir)  # middleware.py is in the folder above
wsgi_app = "app:application"
bind = "127.0.0.1:8000"
workers = 3
preload_app = True


def post_fork(server, worker):
    # In each new worker. gunicorn has seeded its `random` just before; that seed is the system's, and is renewed.
    import app

    app.announce()
