"""What forwarding costs: the programs alone by BPF_PROG_TEST_RUN, and packets a second between namespaces."""
