"""What Galaxy does with a collection, done here: its importer, its documentation, an execution environment."""
