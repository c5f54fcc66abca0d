import flask_app
import pytest


@pytest.fixture
def client():
    return flask_app.app.test_client()


@pytest.mark.clone_safe
def test_invitations(client):
    return client.post("/invitations").json


@pytest.mark.clone_safe
def test_planted(client):
    return client.get("/session").text
