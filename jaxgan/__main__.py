"""`python -m jaxgan` is the `jaxgan` command."""

from jaxgan.cli import main

if __name__ == "__main__":
    main()
