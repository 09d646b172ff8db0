"""`make demo`: train a small model on real data, convert it, and answer with it, in process and over HTTP."""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import falaj
from falaj.training.demo_serve import show

Rows = npt.NDArray[np.float32]


def train_and_convert(repository: Path) -> tuple[Rows, npt.NDArray[np.int64], Any]:
    """Fit a classifier of hand-written digits (scikit-learn's bundled scans), write it as
    `<repository>/digits/1/model.onnx`; return held-out rows, their labels, and the fitted pipeline."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    digits = load_digits()
    rows = digits.data.astype(np.float32)
    train, held_out, labels, held_out_labels = train_test_split(
        rows, digits.target, test_size=0.3, random_state=0, stratify=digits.target
    )
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((64, 64), max_iter=300, random_state=0))
    pipeline.fit(train, labels)
    model = to_onnx(pipeline, train[:1], options={"zipmap": False}, target_opset=18)
    folder = repository / "digits" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return held_out, held_out_labels.astype(np.int64), pipeline


async def ask_one_by_one(engine: falaj.Engine, rows: Rows) -> npt.NDArray[np.int64]:
    """Every row as a request of its own, all in flight at once."""
    answers = await asyncio.gather(*(engine.infer_async("digits", {"X": row[None]}) for row in rows))
    return np.concatenate([answer["label"] for answer in answers])


def draw(row: Rows) -> list[str]:
    """An 8 x 8 scan as text."""
    shades = " .:-=+*#@"
    return ["".join(shades[min(8, int(value / 2))] * 2 for value in line) for line in row.reshape(8, 8)]


def run(repository: Path) -> int:
    """Train, serve, ask, compare; return 0 when every answer is scikit-learn's own."""
    begin = time.perf_counter()
    held_out, labels, pipeline = train_and_convert(repository)
    seconds = time.perf_counter() - begin
    print(f"trained and converted in {seconds:.1f} s: {repository / 'digits/1/model.onnx'}")

    begin = time.perf_counter()
    with falaj.Engine(repository) as engine:
        told = engine.describe("digits")
        print(f"loaded in {time.perf_counter() - begin:.2f} s on {told['placement']}")
        print(f"  inputs  {told['inputs']}\n  outputs {told['outputs']}")
        print(f"  instances {told['instances']}, threads {told['threads']}, batch {told['max_batch_size']}")
        print(f"  because {told['chosen_because']}")

        one = engine.infer("digits", {"X": held_out[:1]})
        print("\n".join(draw(held_out[0])))
        confidence = one["probabilities"][0].max()
        print(f"answer: {one['label'][0]} ({confidence:.1%} sure); it is a {labels[0]}\n")

        begin = time.perf_counter()
        answers = asyncio.run(ask_one_by_one(engine, held_out))
        seconds = time.perf_counter() - begin
        stats = engine.stats("digits")[0]
        rows_per_batch = stats["inference_count"] / stats["execution_count"]
        rate = len(answers) / seconds
        print(f"{len(answers)} requests of one row in {seconds * 1000:.0f} ms ({rate:,.0f}/s),")
        print(f"  answered in batches of {rows_per_batch:.1f} rows on average")
        expected = pipeline.predict(held_out)
        agree = int((answers == expected).sum())
        accuracy = np.mean(answers == labels)
        print(f"  {agree} of {len(expected)} answers are scikit-learn's own; accuracy {accuracy:.1%}")
    served = show(repository, held_out, expected)
    return 0 if served and agree == len(expected) else 1


def main() -> int:
    """Entry point of `python -m falaj.training.demo`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, help="keep the model repository in this folder")
    arguments = parser.parse_args()
    if arguments.repository is not None:
        return run(arguments.repository)
    with tempfile.TemporaryDirectory(prefix="falaj-demo-") as folder:
        return run(Path(folder))


if __name__ == "__main__":
    raise SystemExit(main())
