"""FastAPI with SQLAlchemy: each request waits until what a restore calls for was done.

DATABASE=postgresql+asyncpg://me@db.example/postgres snapsafe run uvicorn --app-dir examples/reconnect fastapi_app:app
"""

import os

import fastapi
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

import snapsafe_rt

engine = create_async_engine(os.environ["DATABASE"])
snapsafe_rt.register_after_restore(engine.sync_engine.dispose, close=False)


async def restored():  # not acheck itself: FastAPI would take its timeout for a parameter of the request
    await snapsafe_rt.acheck()


app = fastapi.FastAPI(dependencies=[fastapi.Depends(restored)])


@app.get("/")
async def show():
    async with engine.begin() as connection:
        return await connection.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))
