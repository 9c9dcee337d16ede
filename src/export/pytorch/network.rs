//! The class of the network around the block, and that of what is between its stages.

use crate::graph::{LayerGraph, NetworkConfig, Reduction};

const REDUCTION: &str = r#"class Reduction(nn.Module):
    """ReLU, 3x3 convolution of stride 2 without bias, batch normalisation: halves height and width."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.normalisation = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.normalisation(self.convolution(torch.relu(x)))


"#;

/// The parts of the network that depend on whether a block takes the output of two blocks before it.
struct Inputs {
    channels: &'static str,
    /// `TorchScript` gives the modules of a `Sequential` one input each.
    stage: &'static str,
    block: &'static str,
    outputs: &'static str,
}

const ONE: Inputs = Inputs {
    channels: "channels",
    stage: "nn.Sequential()",
    block: "Block(channels, width)",
    outputs: "channels = block.outputs",
};

const TWO: Inputs = Inputs {
    channels: "channels = previous",
    stage: "nn.ModuleList()",
    block: "Block(channels, previous, width)",
    outputs: "channels, previous = block.outputs, channels",
};

/// The parts that also depend on what is between two stages.
struct Joints {
    /// What is created before the stages, and before each of them.
    lists: &'static str,
    reductions: &'static str,
    /// The stages in `forward`.
    stages: &'static str,
}

const POOLS_OF_ONE: Joints = Joints {
    lists: "",
    reductions: "",
    stages: "        for number, stage in enumerate(self.stages):
            if number > 0:
                x = F.max_pool2d(x, 2)
            x = stage(x)",
};

const POOLS_OF_TWO: Joints = Joints {
    lists: "",
    reductions: "",
    stages: "        previous = x
        for number, stage in enumerate(self.stages):
            if number > 0:
                x = F.max_pool2d(x, 2)
                previous = F.max_pool2d(previous, 2)
            for block in stage:
                x, previous = block(x, previous), x",
};

/// `TorchScript` cannot choose a module of a list by a number, so there is one for the first stage too.
const CONVOLUTIONS_OF_ONE: Joints = Joints {
    lists: "        self.reductions = nn.ModuleList([nn.Identity()])\n",
    reductions: "            if len(self.stages) > 0:
                self.reductions.append(Reduction(channels, width))
                channels = width\n",
    stages: "        for reduction, stage in zip(self.reductions, self.stages):
            x = stage(reduction(x))",
};

const CONVOLUTIONS_OF_TWO: Joints = Joints {
    lists: "        self.reductions = nn.ModuleList([nn.Identity()])
        self.previous_reductions = nn.ModuleList([nn.Identity()])\n",
    reductions: "            if len(self.stages) > 0:
                self.reductions.append(Reduction(channels, width))
                self.previous_reductions.append(Reduction(previous, width))
                channels = previous = width\n",
    stages: "        previous = x
        for reduction, reduce_previous, stage in zip(self.reductions, self.previous_reductions, self.stages):
            x, previous = reduction(x), reduce_previous(previous)
            for block in stage:
                x, previous = block(x, previous), x",
};

/// Returns the class of the network around `block`, after the class that its reductions need.
pub(super) fn write(block: &LayerGraph, network: &NetworkConfig) -> String {
    // If the network has a cost, its widths do not overflow.
    let widths: Vec<String> =
        (0..network.stages).map(|stage| format!("{}", (network.width as u128) << stage.min(64))).collect();
    let Inputs { channels, stage, block: module, outputs } = if block.has_previous() { TWO } else { ONE };
    let Joints { lists, reductions, stages } = match (network.reduction, block.has_previous()) {
        (Reduction::Pool, false) => POOLS_OF_ONE,
        (Reduction::Pool, true) => POOLS_OF_TWO,
        (Reduction::Convolution, false) => CONVOLUTIONS_OF_ONE,
        (Reduction::Convolution, true) => CONVOLUTIONS_OF_TWO,
    };
    let (class, between) = match network.reduction {
        Reduction::Pool => ("", "pool"),
        Reduction::Convolution => (REDUCTION, "reduction"),
    };
    let (normalisation, stem) = if network.stem.normalised {
        ("        self.stem_normalisation = nn.BatchNorm2d(channels)\n", "self.stem_normalisation(self.stem(images))")
    } else {
        ("", "self.stem(images)")
    };
    let pools = "        x = F.max_pool2d(x, 2)\n".repeat(network.stem.pools.into());
    format!(
        r#"{class}class Network(nn.Module):
    """Stem, stages of blocks with a {between} between two of them, classifier."""

    def __init__(self):
        super().__init__()
        {channels} = {filters}
        self.stem = nn.Conv2d({image}, channels, {kernel}, stride={stride}, padding={padding}, bias=False)
{normalisation}{lists}        self.stages = nn.ModuleList()
        for width in [{widths}]:
{reductions}            stage = {stage}
            for number in range({repeats}):
                block = {module}
                stage.add_module(str(number), block)
                {outputs}
            self.stages.append(stage)
        self.normalisation = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, {classes})
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images):
        x = {stem}
{pools}{stages}
        x = torch.relu(self.normalisation(x))
        return self.classifier(x.mean(dim=(2, 3)))"#,
        filters = network.width as u128 * u128::from(network.stem.multiplier),
        image = network.image.channels,
        kernel = network.stem.kernel,
        stride = network.stem.stride,
        padding = network.stem.kernel / 2,
        widths = widths.join(", "),
        repeats = network.repeats,
        classes = network.classes,
    )
}
