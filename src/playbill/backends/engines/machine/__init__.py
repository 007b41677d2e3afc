"""The machine: CPU threads, contention with other processes, and settings of the whole process."""
