"""The checks: functions from a subject to findings."""
