"""snapsafe_rt.telemetry: OpenTelemetry's instruments, by its own SDK."""

import pytest

from ..conftest import need

pytestmark = pytest.mark.any_python


def test_nothing_is_imported_before_it_is_called(run_python):
    run_python("import sys, snapsafe_rt.telemetry; assert 'opentelemetry' not in sys.modules")


def test_without_the_api_it_says_so(run_python):
    run_python(
        """
        import sys
        import snapsafe_rt.telemetry
        sys.modules["opentelemetry"] = None
        try:
            snapsafe_rt.telemetry.instrument()
        except ImportError as error:
            assert "opentelemetry" in str(error)
        else:
            raise AssertionError
        """
    )


def test_what_status_says(run_python):
    need("opentelemetry.sdk.metrics")
    run_python(
        """
        import snapsafe_rt, snapsafe_rt.telemetry
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        reader = InMemoryMetricReader()
        snapsafe_rt.telemetry.instrument(MeterProvider([reader]))

        def read():
            [resource] = reader.get_metrics_data().resource_metrics
            [scope] = resource.scope_metrics
            points = {one.name: [(p.value, dict(p.attributes)) for p in one.data.data_points] for one in scope.metrics}
            return points

        before = read()
        assert before["snapsafe.restores"] == [(0, {})] and "snapsafe.event.duration" not in before
        snapsafe_rt.register_after_restore(id, 1)
        snapsafe_rt.notify_restored()
        after = read()  # within the second in which an answer is kept: a restore is seen all the same
        assert after["snapsafe.restores"] == [(1, {})] and after["snapsafe.epoch"] == [(1, {})], after
        assert after["snapsafe.event.errors"] == [(0, {"cause": "notified"})]
        assert after["snapsafe.protected"] == [(0, {})]
        assert (1, {"name": "os", "level": "unprotected"}) in after["snapsafe.subsystem"]
        """,
        env={"SNAPSAFE_SOURCES": "vmclock:/none"},
        dev=False,
    )
