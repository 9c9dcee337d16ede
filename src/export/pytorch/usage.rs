//! The functions of the exported source besides the network: loading weights, and turning pictures into images.

/// Functions for a network of any architecture. `preprocess` follows `data::Preprocessing` to the same numbers.
pub(super) const SOURCE: &str = r#"def load(path):
    """Returns a network in evaluation mode with the weights of a safetensors file, and the facts in that file.

    The facts are a dict: names of `classes` in the order of the logits, `preprocessing`, `mean`, `deviation`,
    `architecture`.
    """
    network = Network()
    facts = json.loads(load_weights(network, path)["classifier"])
    return network.eval(), facts


def load_weights(network, path):
    """Loads the weights of a safetensors file into `network`; returns its metadata, a dict of strings.

    Names and shapes must be exactly those of the network.
    """
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    facts = header.pop("__metadata__", {})
    types = {"F32": torch.float32, "I64": torch.int64}
    state = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(bytearray(data[begin:end]), dtype=types[entry["dtype"]])
        state[name] = values.reshape(entry["shape"])
    network.load_state_dict(state)
    return facts


def preprocess(picture, facts):
    """Returns the input [1, channels, height, width] for a picture: the name of a file, or a Pillow image.

    It follows `facts`, as when the accuracy was measured. Needs Pillow.
    """
    from PIL import Image, ImageOps

    if not isinstance(picture, Image.Image):
        with Image.open(picture) as file:
            return preprocess(file, facts)

    image = facts["architecture"]["network"]["image"]
    whole = [image["height"], image["width"]]  # for files written before these facts existed
    steps = facts.get("preprocessing") or {"resize": whole, "crop": whole}
    if steps.get("filter", "triangle, antialiased") != "triangle, antialiased":
        raise ValueError(f"unknown filter {steps['filter']!r}: use the source that was exported with these weights")

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # gray of 16 bits
        values = torch.frombuffer(bytearray(picture.convert("I").tobytes()), dtype=torch.int32)
        picture = Image.frombytes("L", picture.size, bytes(((values + 128) // 257).clamp(0, 255).tolist()))
    picture = picture.convert("RGB")

    # Scaled in proportion until it just covers the size, with the other side rounded; then the middle is cropped.
    (width, height), (rows, columns) = picture.size, steps["resize"]
    if width * rows >= height * columns:
        size = ((width * rows + height // 2) // height, rows)
    else:
        size = (columns, (height * columns + width // 2) // width)
    rows, columns = steps["crop"]
    left, top = (size[0] - columns) // 2, (size[1] - rows) // 2
    planes = []
    for plane in picture.split():
        # Floating-point numbers, so that values are rounded once and not after each direction.
        plane = plane.convert("F").resize(size, Image.BILINEAR).crop((left, top, left + columns, top + rows))
        planes.append(torch.frombuffer(bytearray(plane.tobytes()), dtype=torch.float32).reshape(rows, columns))
    values = (torch.stack(planes) + 0.5).floor()

    if image["channels"] == 1:  # the weights of ITU-R BT.601
        weights = torch.tensor([19595.0, 38470.0, 7471.0]).reshape(3, 1, 1)
        values = (((values * weights).sum(0, keepdim=True) + 32768) / 65536).floor()
    mean, deviation = (torch.tensor(facts[name]).reshape(-1, 1, 1) for name in ("mean", "deviation"))
    return ((values / 255 - mean) / deviation).unsqueeze(0)
"#;
