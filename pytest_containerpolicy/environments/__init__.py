"""Live environments as users' own tests hold them: clusters, engines, projects, and hosts in them.

These build on `targets` and `model`; they know nothing of pytest.
"""
