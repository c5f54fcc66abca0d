"""gunicorn's prefork model: the application is loaded once, in the master, and forked into the workers.

    snapsafe run gunicorn -c examples/gunicorn_prefork/gunicorn.conf.py
    curl http://127.0.0.1:8000/

Look at: app.py registers its callback while the master loads it, so every worker inherits it. After a restore the
master and each worker run it once, also workers that are idle.
"""

import os

chdir = os.path.dirname(os.path.abspath(__file__))
pythonpath = os.path.dirname(chdir)  # middleware.py is in the folder above
wsgi_app = "app:application"
bind = "127.0.0.1:8000"
workers = 3
preload_app = True


def post_fork(server, worker):
    # Runs in each new worker. gunicorn has just seeded `random` from os.urandom: a seed of the system's, so it is
    # renewed after a restore.
    import app

    app.announce()
