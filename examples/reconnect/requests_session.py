"""requests: after a restore the session's connections are closed, and the next request connects anew.

snapsafe run python examples/reconnect/requests_session.py https://www.example.org
"""

import sys

import requests

import snapsafe_rt

session = requests.Session()
snapsafe_rt.register_after_restore(session.close)  # its adapters' connections; it goes on working

for _ in sys.stdin:
    snapsafe_rt.check()
    print(session.get(sys.argv[1]).text, flush=True)
