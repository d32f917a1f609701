"""The product beside what is not ours: the kernel's own tunnel devices and ESP, strongSwan. Run in a guest."""
