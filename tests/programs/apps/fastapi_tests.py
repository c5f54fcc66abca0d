import fastapi_app
import httpx
import pytest
from fastapi.testclient import TestClient


@pytest.mark.clone_safe
def test_orders():
    return TestClient(fastapi_app.app).post("/orders").json()


@pytest.mark.clone_safe
async def test_orders_on_a_loop():
    transport = httpx.ASGITransport(fastapi_app.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.post("/orders")).json()


@pytest.mark.clone_safe
def test_planted():
    return TestClient(fastapi_app.app).get("/node").json()
