"""Settings for all tests."""

from hypothesis import HealthCheck, settings

# First calls are slow (imports, caches of BLAS), so no deadline; and the gate should give the same
# answer twice. To search further: --hypothesis-profile=search.
settings.register_profile(
    "gate",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=500, print_blob=True)
settings.load_profile("gate")
