"""`python -m tests.zoo FOLDER`: write the model that native tests run, and print where it and ONNX Runtime
are, as settings for a shell's `export`."""

import sys
from pathlib import Path

from falaj.training.onnxruntime_library import find_onnxruntime
from tests import zoo

folder = zoo.save(zoo.mlp(), Path(sys.argv[1]).resolve())
print(f"FALAJ_TEST_ONNXRUNTIME={find_onnxruntime()}")
print(f"FALAJ_TEST_MODEL={folder / 'model.onnx'}")
