"""What these tests share with others that live in a folder of their own."""

import sys
from pathlib import Path

# pytest puts only the folders on the path that it collects, and these tests may be run alone.
sys.path.append(str(Path(__file__).parents[1] / "e2e"))
