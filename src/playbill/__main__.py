"""`python -m playbill` is `playbill`."""

from playbill.cli import main

if __name__ == "__main__":
    main()
