"""boto3: after a restore the credentials are asked for again, and connections are made anew.

    snapsafe run python examples/reconnect/boto3_client.py

Where they come from the environment: recipes.environment(FILE) before, and recipes.botocore() reads them from there.
"""

import sys

import boto3

import snapsafe_rt
from snapsafe_rt import recipes

session = boto3.Session(region_name="eu-west-1")
recipes.botocore(session)
client = session.client("sts")
snapsafe_rt.register_after_restore(client.close)  # its connections; it goes on working

for _ in sys.stdin:
    snapsafe_rt.check()
    print(client.get_caller_identity()["Arn"], flush=True)
