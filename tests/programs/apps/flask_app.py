"""A Flask application as a tutorial has it. SESSION is what it draws when it starts, and keeps."""

import random
import secrets
import string

from flask import Flask, jsonify, session

app = Flask(__name__)
app.secret_key = secrets.token_bytes(16)
SESSION = "".join(random.choices(string.ascii_letters, k=12))


@app.post("/invitations")
def invite():
    session["n"] = session.get("n", 0) + 1
    return jsonify(code="".join(random.choices(string.ascii_uppercase, k=10)), order=random.getrandbits(64))


@app.get("/session")
def kept():
    return SESSION
