"""Where a worker runs: a process of this machine; several GPUs and clusters are to come."""
