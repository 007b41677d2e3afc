"""What engines need of the machine: CPU threads, other processes in their way, and settings of the whole process."""
