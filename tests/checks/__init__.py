"""What `make test` and `make test-long` run: named steps, each with its log, and a count at the end."""
