"""The rules that the product is held to, which tests prove which of them, and the report that says so."""
