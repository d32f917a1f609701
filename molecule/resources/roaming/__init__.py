"""A mobile node roams while a TCP session and a probe run: for the demonstration, the scenarios and the bench.

`stream` and `probe` run on the hosts; `session` drives the moves and the captures; `wire` reads the captures;
`report` puts both together; `timeline` draws it.
"""
