"""Small real ONNX models for the tests, each with a generator of valid inputs, and ONNX Runtime's answers.

    from tests.zoo import Reference, mlp, save

    model = mlp()
    save(model, repository)                        # <repository>/mlp/1/model.onnx
    inputs = model.sample(np.random.default_rng(0), 8)
    expected = Reference(model).run(inputs)        # dict of output name -> array

Everything is deterministic: a builder called twice with the same arguments returns the same bytes. The models
load in ONNX Runtime 1.23 and later.
"""

from tests.zoo.datatypes import DATATYPES, numpy_dtype, onnx_type, random_array
from tests.zoo.model import Arrays, Sample, TensorSpec, ZooModel, save
from tests.zoo.nets import conv_net, flop_per_row, mlp
from tests.zoo.random_models import random_model
from tests.zoo.reference import Reference, reference
from tests.zoo.strings import tokens, tokens_to_ids
from tests.zoo.transformer import transformer_encoder
from tests.zoo.traps import (
    external_data,
    fixed_batch4,
    gather_bad_index,
    loop_n,
    mean_over_batch,
    no_batch,
    nonzero_rows,
    scalar_output,
    sequence_first,
)
from tests.zoo.trees import trees_gbdt
from tests.zoo.typed import elementwise, identity

__all__ = [
    "DATATYPES",
    "Arrays",
    "Reference",
    "Sample",
    "TensorSpec",
    "ZooModel",
    "conv_net",
    "elementwise",
    "external_data",
    "fixed_batch4",
    "flop_per_row",
    "gather_bad_index",
    "identity",
    "loop_n",
    "mean_over_batch",
    "mlp",
    "no_batch",
    "nonzero_rows",
    "numpy_dtype",
    "onnx_type",
    "random_array",
    "random_model",
    "reference",
    "save",
    "scalar_output",
    "sequence_first",
    "tokens",
    "tokens_to_ids",
    "transformer_encoder",
    "trees_gbdt",
]
