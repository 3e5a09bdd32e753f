"""Policy spaces over tables: how a policy is represented and fitted."""
