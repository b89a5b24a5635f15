"""``python -m torchliquid`` is the command ``torchliquid``."""

from torchliquid.cli import main

if __name__ == "__main__":
    main()
