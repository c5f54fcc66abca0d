import celery_app
import pytest


@pytest.mark.clone_safe
def test_vouchers():
    sent = celery_app.voucher.apply_async()
    return {"voucher": celery_app.voucher.apply().get(), "task": sent.id, "reply to": celery_app.app.thread_oid}


@pytest.mark.clone_safe
def test_planted():
    return celery_app.ticket.apply().get()
