"""Write the JSON Schema of grid.json from its declaration.

python tools/write_schema.py
"""

from pathlib import Path

import dami_merge.grid.manifest as manifest

PATH = Path(manifest.__file__).with_name("grid.schema.json")


if __name__ == "__main__":
    PATH.write_bytes(manifest.schema_bytes())
    print(PATH)
