"""Run the command line as ``python -m taskloom``."""

from taskloom.cli import main

if __name__ == "__main__":
    main()
