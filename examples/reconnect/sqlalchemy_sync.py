"""SQLAlchemy: after a restore the pool forgets its connections, and the next request connects anew.

    snapsafe run python examples/reconnect/sqlalchemy_sync.py postgresql+psycopg://me@db.example/postgres

Each line of the input is a request. pool_pre_ping does not help where the peer is silent: it waits for the answer, too.
"""

import sys

import sqlalchemy

import snapsafe_rt

engine = sqlalchemy.create_engine(sys.argv[1])
snapsafe_rt.register_after_restore(engine.dispose, close=False)  # leaves connections to the threads that have them

for _ in sys.stdin:
    snapsafe_rt.check()
    with engine.begin() as connection:
        found = connection.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))
    print(found, flush=True)
