//! The features of an architecture for the least-squares learner: binary features of its walk and, if it has one, its
//! graph.
//!
//! Features belong to groups. A feature that is on has the value `sqrt(weight / number of features on in its group)`,
//! so that a group contributes exactly its weight to the similarity of an architecture with itself, whatever its size.
//! Each feature is hashed to one of [`BUCKETS`] places; collisions are rare and do little harm.

use crate::graph::{LayerGraph, Operation};
use crate::space::SearchSpace;

/// Number of places that features are hashed to.
pub(super) const BUCKETS: usize = 1 << 14;

/// A graph with more paths from input to output than this has no features of paths, whose number grows exponentially
/// with the layers.
const MOST_PATHS: u64 = 32;

/// The features that are on for an architecture, as places and values.
pub(super) type Features = Vec<(u16, f32)>;

/// Groups of features, with their weights.
#[derive(Debug, Clone, Copy)]
enum Group {
    /// What was decided at which position of the walk.
    Position,
    /// How often something was decided at any position.
    Decisions,
    /// How often something was decided directly after something else.
    Successions,
    /// How often an operation occurs.
    Operations,
    /// How often one operation follows another.
    Edges,
    /// How often three operations follow each other.
    Triples,
    /// Sequences of operations from input to output.
    Paths,
    /// Numbers of nodes and edges, and lengths of the longest and the shortest path.
    Statistics,
}

impl Group {
    fn weight(self) -> f32 {
        match self {
            Self::Position => 1.0,
            Self::Decisions | Self::Successions | Self::Operations | Self::Edges | Self::Paths => 0.5,
            Self::Triples | Self::Statistics => 0.3,
        }
    }
}

/// Hashes numbers (with the finaliser of `SplitMix64`, chained).
pub(super) fn mix(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0x9e37_79b9_7f4a_7c15, |hash, number| {
        let mut z = (hash ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[expect(clippy::cast_possible_truncation, reason = "there are fewer places than 16 bits can count")]
fn bucket(group: Group, hash: u64) -> u16 {
    (mix([group as u64, hash]) % BUCKETS as u64) as u16
}

/// Returns the places of the features of a decision.
pub(super) fn decision<S: SearchSpace>(
    space: &S,
    position: usize,
    action: &S::Action,
) -> impl Iterator<Item = u16> + use<S> {
    let aspects = space.aspects(action).into_iter();
    aspects.map(move |aspect| bucket(Group::Position, mix([position as u64, aspect])))
}

/// Returns the features of an architecture with the walk `actions`, and with the graph `graph` if it has one.
pub(super) fn features<S: SearchSpace>(space: &S, actions: &[S::Action], graph: Option<&LayerGraph>) -> Features {
    let mut features = Features::new();
    add_walk(space, actions, &mut features);
    if let Some(graph) = graph {
        add_graph(graph, &mut features);
    }
    features
}

/// Adds the features of a group, which are at `places`.
fn add(group: Group, places: &mut Vec<u16>, features: &mut Features) {
    let value = (group.weight() / places.len().max(1) as f32).sqrt();
    features.extend(places.drain(..).map(|place| (place, value)));
}

/// Adds the features of how often each value of `counted` occurs.
fn add_counts(group: Group, counted: &mut Vec<u64>, places: &mut Vec<u16>, features: &mut Features) {
    thermometers(group, counted, places);
    add(group, places, features);
}

fn add_walk<S: SearchSpace>(space: &S, actions: &[S::Action], features: &mut Features) {
    let mut places = Vec::new();
    for (position, action) in actions.iter().enumerate() {
        places.extend(decision(space, position, action));
    }
    add(Group::Position, &mut places, features);

    let mut counted = Vec::new();
    let aspects: Vec<Vec<u64>> = actions.iter().map(|action| space.aspects(action)).collect();
    counted.extend(aspects.iter().flatten().map(|&aspect| mix([aspect])));
    add_counts(Group::Decisions, &mut counted, &mut places, features);
    for pair in aspects.windows(2) {
        counted.extend(pair[0].iter().flat_map(|&first| pair[1].iter().map(move |&then| mix([first, then]))));
    }
    add_counts(Group::Successions, &mut counted, &mut places, features);
}

fn add_graph(graph: &LayerGraph, features: &mut Features) {
    let (mut counted, mut places) = (Vec::new(), Vec::new());
    let outline = Outline::new(graph);
    counted.extend(outline.operations().map(|label| mix([label])));
    add_counts(Group::Operations, &mut counted, &mut places, features);
    counted.extend(outline.edges().map(|(from, to)| mix([outline.label(from), outline.label(to)])));
    add_counts(Group::Edges, &mut counted, &mut places, features);
    for (middle, to) in outline.edges() {
        let label = |node| outline.label(node);
        counted.extend(bits(outline.inputs[middle]).map(|from| mix([label(from), label(middle), label(to)])));
    }
    add_counts(Group::Triples, &mut counted, &mut places, features);
    outline.paths(&mut counted);
    counted.sort_unstable();
    counted.dedup();
    places.extend(counted.drain(..).map(|path| bucket(Group::Paths, path)));
    add(Group::Paths, &mut places, features);
    for (number, statistic) in (0..).zip(outline.statistics()) {
        places.extend((1..=statistic).map(|level| bucket(Group::Statistics, mix([number, level]))));
    }
    add(Group::Statistics, &mut places, features);
}

/// Adds the features "at least once" to "at least n times" for each value that occurs `n` times.
fn thermometers(group: Group, counted: &mut Vec<u64>, places: &mut Vec<u16>) {
    counted.sort_unstable();
    for equal in counted.chunk_by(|a, b| a == b) {
        places.extend((1..=equal.len() as u64).map(|level| bucket(group, mix([equal[0], level]))));
    }
    counted.clear();
}

/// A graph without the nodes that are on no path from input to output, and in which edges pass through sums: the inputs
/// of a sum count as inputs of the nodes that follow it.
struct Outline<'g> {
    graph: &'g LayerGraph,
    /// Nodes that are on a path.
    live: u128,
    /// For each node, the nodes that it follows.
    inputs: Vec<u128>,
}

/// Positions of the bits that are set.
fn bits(mut set: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let lowest = set.trailing_zeros() as usize;
        set &= set - 1;
        Some(lowest)
    })
}

impl<'g> Outline<'g> {
    fn new(graph: &'g LayerGraph) -> Self {
        let nodes = graph.nodes();
        let mut reached: u128 = 1;
        for (position, node) in nodes.iter().enumerate().skip(1) {
            let is_fed = node.inputs.is_empty() || node.inputs.iter().any(|&input| reached >> input & 1 == 1);
            if node.operation != Operation::Zero && is_fed {
                reached |= 1 << position;
            }
        }
        let mut live: u128 = 1 << (nodes.len() - 1);
        let mut inputs = vec![0u128; nodes.len()];
        for (position, node) in nodes.iter().enumerate().rev() {
            if live >> position & 1 == 1 {
                let own: u128 = node.inputs.iter().map(|&input| 1 << input).fold(0, |set, input| set | input) & reached;
                inputs[position] = own;
                live |= own;
            }
        }
        live &= reached;
        // A sum of one input is that input.
        for position in bits(live) {
            if nodes[position].operation == Operation::Add && inputs[position].is_power_of_two() {
                live &= !(1 << position);
            }
        }
        // In topological order, the inputs of a sum are final when they are passed on to others.
        for position in 0..nodes.len() {
            for input in bits(inputs[position]) {
                if nodes[input].operation == Operation::Add {
                    inputs[position] = (inputs[position] & !(1 << input)) | inputs[input];
                }
            }
        }
        Self { graph, live, inputs }
    }

    fn label(&self, node: usize) -> u64 {
        self.graph.nodes()[node].operation.facts().colour.number()
    }

    /// Returns the labels of all live nodes.
    fn operations(&self) -> impl Iterator<Item = u64> {
        bits(self.live).map(|node| self.label(node))
    }

    /// Returns the live nodes that are not sums.
    fn layers(&self) -> impl Iterator<Item = usize> {
        bits(self.live).filter(|&node| self.graph.nodes()[node].operation != Operation::Add)
    }

    /// Returns the pairs of nodes that follow each other.
    fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        self.layers().flat_map(|to| bits(self.inputs[to]).map(move |from| (from, to)))
    }

    /// Appends a hash of each sequence of labels from input to output, if there are not too many.
    fn paths(&self, found: &mut Vec<u64>) {
        let mut count = vec![0u64; self.inputs.len()];
        count[0] = 1;
        for node in self.layers().skip_while(|&node| node == 0) {
            count[node] = match self.inputs[node] {
                // A second input of the block.
                0 => 1,
                inputs => bits(inputs).map(|input| count[input]).fold(0, u64::saturating_add),
            };
        }
        let output = self.inputs.len() - 1;
        if count[output] > MOST_PATHS || self.live >> output & 1 == 0 {
            return;
        }
        let mut open = vec![(output, 0)];
        while let Some((node, hash)) = open.pop() {
            let hash = mix([hash, self.label(node)]);
            if self.inputs[node] == 0 {
                found.push(hash);
            }
            open.extend(bits(self.inputs[node]).map(|input| (input, hash)));
        }
    }

    /// Returns the numbers of live nodes and edges, and the lengths of the longest and the shortest path.
    fn statistics(&self) -> [u64; 4] {
        let mut longest = vec![0u64; self.inputs.len()];
        let mut shortest = vec![0u64; self.inputs.len()];
        for node in self.layers().filter(|&node| node > 0) {
            let before = |lengths: &[u64]| bits(self.inputs[node]).map(|input| lengths[input]).collect::<Vec<_>>();
            longest[node] = before(&longest).into_iter().max().map_or(0, |length| length + 1);
            shortest[node] = before(&shortest).into_iter().min().map_or(0, |length| length + 1);
        }
        let output = self.inputs.len() - 1;
        [u64::from(self.live.count_ones()), self.edges().count() as u64, longest[output], shortest[output]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ToGraph;
    use crate::space::block::{BlockCode, BlockSpace};
    use crate::space::cell::{CellCode, CellSpace};

    fn of_block(text: &str) -> Features {
        let block: BlockCode = text.parse().unwrap();
        features(&BlockSpace::paper(), block.layers(), Some(&block.to_graph()))
    }

    fn product(a: &Features, b: &Features) -> f32 {
        let mut dense = vec![0.0; BUCKETS];
        for &(place, value) in a {
            dense[usize::from(place)] += value;
        }
        b.iter().map(|&(place, value)| dense[usize::from(place)] * value).sum()
    }

    #[test]
    fn an_architecture_is_most_like_itself_and_more_like_its_neighbours_than_like_others() {
        let center = of_block("conv3(0) conv3(1) add(0,2) terminal(3)");
        let near = of_block("conv3(0) conv5(1) add(0,2) terminal(3)");
        let far = of_block("max3(0) avg3(0) avg3(1) id(3) concat(2,4) terminal(2)");
        let [own, near, far] = [&center, &near, &far].map(|other| product(&center, other));
        assert!((4.0..4.3).contains(&own), "the weights of the groups: {own}");
        assert!(own > near && near > far, "{own} {near} {far}");
    }

    #[test]
    fn decisions_count_at_other_positions_as_well() {
        let center = of_block("conv3(0) conv5(1) max3(2) terminal(3)");
        let moved = of_block("max3(0) conv3(1) conv5(2) terminal(3)");
        let other = of_block("avg3(0) conv1(1) id(2) terminal(3)");
        let [moved, other] = [&moved, &other].map(|block| product(&center, block));
        assert!(moved > other + 0.3, "{moved} {other}");
    }

    #[test]
    fn dead_operations_of_a_cell_change_the_features_of_its_walk_only() {
        let space = CellSpace::new();
        let graph_features = |text: &str| {
            let cell: CellCode = text.parse().unwrap();
            let mut all = features(&space, cell.edges(), Some(&cell.to_graph()));
            // Six positions, six decisions, five successions.
            all.drain(..17);
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            all
        };
        let plain = graph_features("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|");
        assert_eq!(plain, graph_features("|avg_pool_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"));
        assert_eq!(plain, graph_features("|none~0|+|none~0|skip_connect~1|+|nor_conv_3x3~0|none~1|nor_conv_1x1~2|"));
        assert_ne!(plain, graph_features("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|"));
    }

    #[test]
    fn a_graph_with_very_many_paths_has_features_without_them() {
        let layers: Vec<String> = (2..=22).map(|index| format!("concat({},{})", index - 2, index - 1)).collect();
        let features = of_block(&format!("conv3(0) {} terminal(22)", layers.join(" ")));
        assert!((400..1_200).contains(&features.len()), "{}", features.len());
    }
}
