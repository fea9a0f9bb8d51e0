"""The words of the command line: each module here adds some (`app`, a typer app, or `register(app)`)."""
