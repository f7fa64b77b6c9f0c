"""Share the weights that stock TensorFlow restores, without changing the program.

::

    import tetris.tensorflow

    tetris.tensorflow.enable()
    model = tf.saved_model.load("/models/vgg16/1")   # as ever; its weights are mapped
    print(tetris.tensorflow.report())

``enable`` puts a kernel in the place of TensorFlow's ``RestoreV2``. So ``tf.saved_model.load``,
``keras.layers.TFSMLayer``, ``tf.train.Checkpoint.restore`` and TF1's ``Saver.restore`` all share.
Restored variables can be trained: TensorFlow copies each one, for this process alone, before it
first writes to it. (TF1's reference variables it copies at once: those gain nothing.) Whatever
cannot be shared is read from the checkpoint, as without us, and ``report`` says why. A script needs
no change at all under ``python -m tetris script.py``.
"""

from __future__ import annotations

from tetris.tensorflow._kernel import disable, enable, enabled, report
from tetris.tensorflow._ledger import Report, SharedModel
from tetris.tensorflow._resolve import Attachment, Resolved, Resolver, SharedTensor

__all__ = [
    "enable",
    "disable",
    "enabled",
    "report",
    "Report",
    "SharedModel",
    "Resolver",
    "Resolved",
    "Attachment",
    "SharedTensor",
]
