"""httpx: after a restore the process's TCP connections are ended; httpx sees that, and connects anew.

snapsafe run python examples/reconnect/httpx_client.py https://www.example.org
"""

import sys

import httpx

import snapsafe_rt
from snapsafe_rt import recipes

recipes.connections()
client = httpx.Client()

for _ in sys.stdin:
    snapsafe_rt.check()
    print(client.get(sys.argv[1]).text, flush=True)
