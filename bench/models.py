"""The models that figures are measured on: real Keras architectures with seeded weights.

``python bench/models.py NAME DIRECTORY`` exports one. No weights are downloaded: what is measured
does not depend on their values, and a seed makes them the same everywhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from quiet import QUIET

MODELS = Path(__file__).parents[1] / "build" / "models"
NAMES = ("vgg16", "vgg16-once", "vgg16-head", "mobilenetv2", "resnet50", "resnet152-once")


def ensure(name: str, directory: Path) -> Path:
    """The export of model ``name`` below ``directory``, made in a process of its own if missing."""
    path = directory / name / "1"
    if not path.exists():
        subprocess.run(
            [sys.executable, __file__, name, str(path)], check=True, env=QUIET, capture_output=True
        )
    return path


def _build(name: str) -> object:
    import keras

    keras.utils.set_random_seed(16)
    makers = {
        "mobilenetv2": keras.applications.MobileNetV2,
        "resnet50": keras.applications.ResNet50,
        "resnet152": keras.applications.ResNet152,
        "vgg16": keras.applications.VGG16,
    }
    whole = makers[name.partition("-")[0]](weights=None)
    _train(whole)
    if name != "vgg16-head":
        return whole
    base = keras.Model(whole.input, whole.get_layer("block5_pool").output)
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(whole.input, keras.layers.Dense(10, activation="softmax")(pooled))


def _train(model: object) -> None:
    """Give every variable values of its own, as training does.

    Fresh biases are all zeros and fresh scales all ones: sharing those would be no merit.
    """
    import numpy as np

    noise = np.random.default_rng(16)
    for variable in model.weights:
        old = variable.numpy()
        if old.ndim == 1:
            variable.assign(old + noise.uniform(0, 0.1, old.shape).astype(old.dtype))


def _export_once(model: object, path: Path) -> None:
    """A SavedModel that holds every variable once, which Keras's own export does not."""
    import tensorflow as tf

    class Once(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = [v.value for v in model.variables]

        @tf.function(input_signature=[tf.TensorSpec((None, 224, 224, 3), tf.float32)])
        def serve(self, images):
            return model(images, training=False)

    module = Once()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})


def export(name: str, path: Path) -> None:
    """Write model ``name`` to ``path``, whole or not at all."""
    draft = path.with_name(f".{path.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    model = _build(name)
    if name.endswith("-once"):
        _export_once(model, draft)
    else:
        model.export(str(draft), verbose=False)
    draft.rename(path)


if __name__ == "__main__":
    export(sys.argv[1], Path(sys.argv[2]))
