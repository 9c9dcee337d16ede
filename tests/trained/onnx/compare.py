"""Compares ONNX files in onnxruntime with what the crate computed: compare.py FOLDER, which holds manifest.json."""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime
from PIL import Image, ImageOps

TOLERANCE = 1e-4
# Of probabilities, from pixels.
MARGIN = 0.02


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def apart(found, wanted):
    """The largest difference, relative to values above 1."""
    return float((numpy.abs(found - wanted) / numpy.maximum(1, numpy.abs(wanted))).max())


def logits(folder, case):
    images = numpy.fromfile(folder / f"{case['number']}.images", dtype="<f4").reshape(case["images"])
    wanted = numpy.array(case["logits"], dtype="f4")
    worst = 0
    for name in ["plain", "folded"]:
        run = session(folder / f"{case['number']}.{name}.onnx")
        assert run.get_inputs()[0].name == "images" and run.get_outputs()[0].name == "logits"
        for batch in [1, 7, 64]:
            found = numpy.concatenate(
                [run.run(None, {"images": images[at : at + batch]})[0] for at in range(0, len(images), batch)]
            )
            assert found.shape == wanted.shape, (found.shape, wanted.shape)
            difference = apart(found, wanted)
            assert difference < TOLERANCE, (case["number"], name, batch, difference)
            worst = max(worst, difference)
        facts = json.loads(run.get_modelmeta().custom_metadata_map["classifier"])
        assert facts["classes"] == case["classes"], facts["classes"]
    return worst


def pictures(folder, case):
    """Returns how many pictures got another class, and the largest difference of a probability.

    Pixels are rounded, so that some are off by one; between classes that are about as probable, that decides.
    """
    other, worst = 0, 0
    for path in sorted(folder.glob(f"{case['number']}.*pixels.onnx")):
        run = session(path)
        for picture in case["pictures"]:
            image = ImageOps.exif_transpose(Image.open(picture["path"])).convert("RGB")
            found = run.run(None, {"pixels": numpy.asarray(image)[None]})[0][0]
            wanted = numpy.array(picture["probabilities"])
            other += wanted.max() - wanted[found.argmax()] > MARGIN
            worst = max(worst, float(numpy.abs(found - wanted).max()))
    return other, worst


def main(folder):
    cases = json.loads((folder / "manifest.json").read_text())
    for case in cases:
        difference = logits(folder, case) if "logits" in case else 0
        other, worst = pictures(folder, case)
        print(
            f"network {case['number']}: logits at most {difference:.1e} apart; of {len(case['pictures'])} pictures {other} "
            f"have another class, probabilities at most {worst:.1e} apart"
        )
        assert other <= case.get("apart", 0) and ("apart" in case or worst < MARGIN), (other, worst)
    print(f"{len(cases)} networks agree")


main(pathlib.Path(sys.argv[1]))
