"""What is true of a process: status() inside, the status page, and reading it from outside."""
