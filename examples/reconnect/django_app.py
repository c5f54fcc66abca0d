"""Django: after a restore the process's TCP connections are ended; CONN_HEALTH_CHECKS sees that when a request begins.

    snapsafe run python examples/reconnect/django_app.py db.example

Without CONN_MAX_AGE, each request has a connection of its own, and only one that is under way meets a dead one.
"""

import sys
from wsgiref.util import setup_testing_defaults

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse
from django.urls import path

import snapsafe_rt
from snapsafe_rt import recipes

DATABASE = {"ENGINE": "django.db.backends.postgresql", "USER": "tests", "NAME": "postgres"}
KEPT = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
host, _, port = sys.argv[1].partition(":")
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[f"{__name__}.restored"],
    DATABASES={"default": {**DATABASE, **KEPT, "HOST": host, "PORT": port}},
)
recipes.connections()


def restored(get_response):
    def handle(request):
        snapsafe_rt.check()
        return get_response(request)

    return handle


def show(request):
    with connection.cursor() as cursor:
        return HttpResponse(str(cursor.execute("SELECT pg_backend_pid()").fetchone()[0]))


urlpatterns = [path("", show)]
django.setup()
application = get_wsgi_application()

if __name__ == "__main__":  # a server calls `application`; here each line of the input is a request
    for _ in sys.stdin:
        environ = {}
        setup_testing_defaults(environ)
        answer = application(environ, lambda status, headers: None)
        print(b"".join(answer).decode(), flush=True)
        answer.close()
