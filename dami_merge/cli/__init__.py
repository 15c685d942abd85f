"""The command line: parse, call, render. The only part of the package that uses click and rich."""
