"""A FastAPI application as a tutorial has it. node() is drawn at the first request, and kept."""

import functools
import random
import uuid

from fastapi import FastAPI

app = FastAPI()


@functools.cache
def node():
    return random.getrandbits(48)


@app.post("/orders")
async def order():
    return {"number": random.randrange(10**12), "id": str(uuid.uuid1())}


@app.get("/node")
def kept():
    return {"node": node()}
