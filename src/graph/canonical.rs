//! Canonical labelling of small multigraphs: one byte string for all graphs that differ only in the numbers of their
//! vertices.
//!
//! Colour refinement first splits the vertices into cells that their neighbourhoods distinguish; for most graphs this
//! ends with one vertex in each cell. What remains is searched: a vertex of a cell is individualised, the partition is
//! refined again, and so on down to the leaves, each of which is a numbering with a certificate. The canonical form is
//! the smallest certificate among the leaves whose refinements left the smallest traces. Two leaves with the same
//! certificate reveal an automorphism. Such automorphisms, and the exchange of twins, let the search skip every branch
//! that is the image of one already searched.
//!
//! The result depends on every detail here: the order of cells, the choice of the cell to individualise, the weights of
//! edges. Fingerprints are stored in journals, so none of it may change.

mod partition;

use super::operation::Colour;
use partition::{Partition, Refiner};
use std::cmp::Ordering;

/// A directed multigraph with coloured vertices, numbered from 0.
#[derive(Debug)]
pub(super) struct Multigraph {
    colours: Vec<Colour>,
    /// Grouped by target: the inputs of vertex `v` are `inputs[input_offsets[v]..input_offsets[v + 1]]`.
    inputs: Vec<Edge>,
    input_offsets: Vec<usize>,
    /// For each vertex, its neighbours in both directions with the weight of their edge as seen from the neighbour.
    neighbours: Vec<(usize, u64)>,
    neighbour_offsets: Vec<usize>,
}

/// Parallel edges from one vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: usize,
    multiplicity: u64,
}

impl Multigraph {
    /// Creates a graph from coloured vertices, each with the sources of its edges, repeated for parallel edges.
    ///
    /// Edges must come from earlier vertices.
    pub(super) fn new<I: Iterator<Item = usize>>(vertices: impl Iterator<Item = (Colour, I)>) -> Self {
        let mut colours = Vec::new();
        let mut inputs: Vec<Edge> = Vec::new();
        let mut input_offsets = vec![0];
        let mut sources = Vec::new();
        for (colour, from) in vertices {
            colours.push(colour);
            sources.clear();
            sources.extend(from);
            sources.sort_unstable();
            let first = inputs.len();
            for &from in &sources {
                match inputs[first..].last_mut() {
                    Some(edge) if edge.from == from => edge.multiplicity += 1,
                    _ => inputs.push(Edge { from, multiplicity: 1 }),
                }
            }
            input_offsets.push(inputs.len());
        }
        let (neighbours, neighbour_offsets) = both_directions(&inputs, &input_offsets);
        Self { colours, inputs, input_offsets, neighbours, neighbour_offsets }
    }

    fn len(&self) -> usize {
        self.colours.len()
    }

    fn inputs(&self, vertex: usize) -> &[Edge] {
        &self.inputs[self.input_offsets[vertex]..self.input_offsets[vertex + 1]]
    }

    fn neighbours(&self, vertex: usize) -> &[(usize, u64)] {
        &self.neighbours[self.neighbour_offsets[vertex]..self.neighbour_offsets[vertex + 1]]
    }

    /// Returns the graph as bytes, with its vertices numbered by `order`.
    ///
    /// The bytes are the number of vertices; then, for each vertex, its colour (as many bytes as its first byte says),
    /// the number of vertices that it takes inputs from and, for each of those in ascending order, its number and the
    /// multiplicity of the edge. Numbers are in LEB128: seven bits a byte, low bits first, the high bit set on all
    /// bytes but the last.
    fn certificate(&self, Partition { order, position, .. }: &Partition) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + 3 * self.len() + 2 * self.inputs.len());
        let mut inputs: Vec<Edge> = Vec::new();
        push_number(&mut bytes, self.len() as u64);
        for &vertex in order {
            bytes.extend(self.colours[vertex].bytes());
            inputs.clear();
            inputs.extend(self.inputs(vertex).iter().map(|edge| Edge { from: position[edge.from], ..*edge }));
            inputs.sort_unstable();
            push_number(&mut bytes, inputs.len() as u64);
            for edge in &inputs {
                push_number(&mut bytes, edge.from as u64);
                push_number(&mut bytes, edge.multiplicity);
            }
        }
        bytes
    }

    /// Returns, for each vertex, the smallest vertex with the same colour and the same edges: exchanging the two is an
    /// automorphism.
    fn twins(&self) -> Vec<usize> {
        // Weights distinguish inputs from outputs and multiplicities from each other. Each list ascends by
        // construction.
        let key = |vertex: usize| (self.colours[vertex], self.neighbours(vertex));
        let mut sorted: Vec<usize> = (0..self.len()).collect();
        sorted.sort_by(|&a, &b| key(a).cmp(&key(b)));
        let mut twins = vec![0; self.len()];
        let mut previous: Option<usize> = None;
        for vertex in sorted {
            twins[vertex] = match previous {
                Some(previous) if key(previous) == key(vertex) => twins[previous],
                _ => vertex,
            };
            previous = Some(vertex);
        }
        twins
    }
}

/// Returns the adjacency lists over both directions of all edges, each in ascending order of the neighbours.
fn both_directions(inputs: &[Edge], input_offsets: &[usize]) -> (Vec<(usize, u64)>, Vec<usize>) {
    let count = input_offsets.len() - 1;
    let mut offsets = vec![0; count + 1];
    for vertex in 0..count {
        let own = &inputs[input_offsets[vertex]..input_offsets[vertex + 1]];
        offsets[vertex + 1] += own.len();
        for edge in own {
            offsets[edge.from + 1] += 1;
        }
    }
    for vertex in 0..count {
        offsets[vertex + 1] += offsets[vertex];
    }
    let mut next = offsets[..count].to_vec();
    let mut neighbours = vec![(0, 0); offsets[count]];
    // A vertex's inputs have smaller numbers and its outputs larger ones. Its list ascends, because its inputs are
    // added in its own turn and its outputs in theirs.
    for vertex in 0..count {
        for edge in &inputs[input_offsets[vertex]..input_offsets[vertex + 1]] {
            neighbours[next[vertex]] = (edge.from, mix(edge.multiplicity, 1));
            next[vertex] += 1;
            neighbours[next[edge.from]] = (vertex, mix(edge.multiplicity, 2));
            next[edge.from] += 1;
        }
    }
    (neighbours, offsets)
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// Mixes `value` into `state`. Used only for pruning: collisions cost time, never correctness.
fn mix(state: u64, value: u64) -> u64 {
    // The fraction of the golden ratio: an odd multiplier whose bits are well spread.
    let product = (state ^ value.rotate_left(32)).wrapping_add(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 29)
}

/// Returns the canonical form of `graph`, and how many refinements it took to find.
pub(super) fn canonical_form(graph: &Multigraph) -> (Vec<u8>, usize) {
    let mut refiner = Refiner::new(graph.len());
    let mut root = Partition::by_colour(&graph.colours);
    refiner.refine_all(graph, &mut root);
    if root.is_discrete() {
        return (graph.certificate(&root), 1);
    }
    let mut search = Search {
        graph,
        refiner,
        twins: graph.twins(),
        path: Vec::new(),
        traces: Vec::new(),
        leaves: Vec::new(),
        best: 0,
        automorphisms: Vec::new(),
        refinements: 1,
    };
    search.explore(&root);
    (search.leaves.swap_remove(search.best).certificate, search.refinements)
}

/// The most leaves that are kept for recognising automorphisms.
const MOST_LEAVES: usize = 64;

/// A depth-first search over the vertices to individualise.
struct Search<'a> {
    graph: &'a Multigraph,
    refiner: Refiner,
    twins: Vec<usize>,
    /// The vertices individualised on the way to the current node of the search tree.
    path: Vec<usize>,
    /// The smallest traces so far, level by level.
    traces: Vec<u64>,
    /// Leaves with those traces and different certificates.
    leaves: Vec<Leaf>,
    /// Which of `leaves` has the smallest certificate.
    best: usize,
    /// Each automorphism as the images of all vertices.
    automorphisms: Vec<Vec<usize>>,
    refinements: usize,
}

struct Leaf {
    path: Vec<usize>,
    order: Vec<usize>,
    certificate: Vec<u8>,
}

impl Search<'_> {
    /// Searches below `partition` and returns the level at which the search continues: the current one, or one nearer
    /// to the root if an automorphism showed that nothing new can be found here.
    fn explore(&mut self, partition: &Partition) -> usize {
        let level = self.path.len();
        let Some(cell) = partition.largest_open_cell() else {
            return self.reach_leaf(partition);
        };
        let candidates = self.one_of_each_twins(partition.cell(cell));
        let mut orbits = Orbits { parents: self.twins.clone(), known: 0 };
        for (index, &vertex) in candidates.iter().enumerate() {
            if index > 0 {
                orbits.learn(&self.automorphisms, &self.path);
                let root = orbits.root(vertex);
                if candidates[..index].iter().any(|&earlier| orbits.root(earlier) == root) {
                    continue;
                }
            }
            let mut child = partition.clone();
            self.refinements += 1;
            let trace = self.refiner.individualise(self.graph, &mut child, vertex);
            if !self.accept_trace(level, trace) {
                continue;
            }
            self.path.push(vertex);
            let back = self.explore(&child);
            self.path.pop();
            if back < level {
                return back;
            }
        }
        level
    }

    /// Compares the trace of a new node at `level` with the smallest so far; returns false if the node can be skipped.
    fn accept_trace(&mut self, level: usize, trace: u64) -> bool {
        match self.traces.get(level).map(|smallest| trace.cmp(smallest)) {
            Some(Ordering::Equal) => true,
            Some(Ordering::Less) => {
                self.traces.truncate(level);
                self.traces.push(trace);
                self.leaves.clear();
                true
            }
            None if self.leaves.is_empty() => {
                self.traces.push(trace);
                true
            }
            // Without a trace to compare, the best leaf has the same traces and is nearer to the root.
            Some(Ordering::Greater) | None => false,
        }
    }

    fn reach_leaf(&mut self, partition: &Partition) -> usize {
        let level = self.path.len();
        if self.traces.len() > level {
            self.traces.truncate(level);
            self.leaves.clear();
        }
        let certificate = self.graph.certificate(partition);
        if let Some(leaf) = self.leaves.iter().find(|leaf| leaf.certificate == certificate) {
            let mut automorphism = vec![0; self.graph.len()];
            for (&from, &to) in leaf.order.iter().zip(&partition.order) {
                automorphism[from] = to;
            }
            let mut steps = leaf.path.iter().zip(&self.path);
            let maps_path = steps.clone().all(|(&from, &to)| automorphism[from] == to);
            let fork = steps.position(|(from, to)| from != to);
            self.automorphisms.push(automorphism);
            // Everything below the fork is the image of what was searched when the leaf was found.
            return fork.filter(|_| maps_path).unwrap_or(level);
        }
        let leaf = Leaf { path: self.path.clone(), order: partition.order.clone(), certificate };
        let better = self.leaves.get(self.best).is_none_or(|best| leaf.certificate < best.certificate);
        if self.leaves.is_empty() {
            self.best = 0;
            self.leaves.push(leaf);
        } else if self.leaves.len() < MOST_LEAVES {
            if better {
                self.best = self.leaves.len();
            }
            self.leaves.push(leaf);
        } else if better {
            self.leaves[self.best] = leaf;
        }
        level
    }

    fn one_of_each_twins(&self, cell: &[usize]) -> Vec<usize> {
        let mut taken = vec![false; self.graph.len()];
        cell.iter().copied().filter(|&vertex| !std::mem::replace(&mut taken[self.twins[vertex]], true)).collect()
    }
}

/// The orbits of the automorphisms that fix every vertex of a path, as a forest.
struct Orbits {
    parents: Vec<usize>,
    /// How many of the search's automorphisms are included.
    known: usize,
}

impl Orbits {
    /// Joins orbits by the automorphisms that are new and fix `path`.
    ///
    /// Exchanges of twins are included from the start. An exchange with a twin on the path moves that twin, but joins
    /// nothing wrongly: no automorphism that fixes the path maps it to another vertex.
    fn learn(&mut self, automorphisms: &[Vec<usize>], path: &[usize]) {
        for automorphism in &automorphisms[self.known..] {
            if path.iter().all(|&vertex| automorphism[vertex] == vertex) {
                for (from, &to) in automorphism.iter().enumerate() {
                    let (from, to) = (self.root(from), self.root(to));
                    self.parents[from.max(to)] = from.min(to);
                }
            }
        }
        self.known = automorphisms.len();
    }

    fn root(&mut self, mut vertex: usize) -> usize {
        while self.parents[vertex] != vertex {
            self.parents[vertex] = self.parents[self.parents[vertex]];
            vertex = self.parents[vertex];
        }
        vertex
    }
}
