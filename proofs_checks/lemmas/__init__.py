"""The inequalities inside the proofs, one by one."""
