"""A Celery application. PREFIX is drawn when a worker starts, and kept."""

import random
import string

from celery import Celery

app = Celery("shop", broker="memory://", backend="cache+memory://")
PREFIX = "".join(random.choices(string.ascii_letters, k=8))


@app.task
def voucher():
    return "".join(random.choices(string.ascii_uppercase, k=10))


@app.task
def ticket():
    return PREFIX
