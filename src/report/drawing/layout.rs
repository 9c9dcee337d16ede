//! Positions of the nodes and edges of a layered graph.
//!
//! The method is Sugiyama's. Each node is in the layer below its lowest input. An edge that spans several layers gets
//! its own lane in each layer between, which keeps it clear of the nodes there. Layers are then ordered so that few
//! edges cross (weighted medians), and positions are chosen so that edges run straight (least squares under the order).

use crate::graph::LayerGraph;

/// Sizes in units of the figure.
pub(super) const NODE_HEIGHT: f64 = 38.0;
pub(super) const NODE_WIDTH: f64 = 116.0;
/// The distance between the bottom of a layer and the top of the next; edges bend only there.
pub(super) const GAP: f64 = 34.0;
const NODE_SEPARATION: f64 = 22.0;
const LANE_WIDTH: f64 = 14.0;
const LANE_GAP: f64 = 4.0;
/// The distance between the ends of edges at the same node.
const PORT_SEPARATION: f64 = 16.0;

/// The position of a node's box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Middle of the box.
    pub(super) x: f64,
    /// Top of the box.
    pub(super) y: f64,
}

/// The path of an edge: where it leaves its source, the lanes that it takes, and where it enters its target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Route {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The point where the edge begins, then its position at the top of each layer that it passes or ends at. It runs
    /// straight down through a layer and bends between two.
    pub(super) points: Vec<(f64, f64)>,
}

/// A laid-out graph.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    pub(super) routes: Vec<Route>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// An item of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Node(usize),
    /// A part of the edge with this number.
    Lane(usize),
}

impl Item {
    fn width(self) -> f64 {
        match self {
            Self::Node(_) => NODE_WIDTH,
            Self::Lane(_) => LANE_WIDTH,
        }
    }
}

/// The items of all layers, in order, and the items that each is joined to in the layers above and below.
struct Layers {
    /// Item numbers from left to right.
    order: Vec<Vec<usize>>,
    items: Vec<Item>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    /// The items that each edge runs through, from its source to its target.
    chains: Vec<Vec<usize>>,
}

pub(super) fn layout(graph: &LayerGraph) -> Layout {
    let ranks = ranks(graph);
    let mut layers = Layers::new(graph, &ranks);
    layers.order_by_crossings();
    let mut x = layers.positions();
    let left = x.iter().zip(&layers.items).map(|(x, item)| x - item.width() / 2.0).fold(f64::INFINITY, f64::min);
    let mut right = 0.0f64;
    for (x, item) in x.iter_mut().zip(&layers.items) {
        *x -= left;
        right = right.max(*x + item.width() / 2.0);
    }
    let top = |rank: usize| rank as f64 * (NODE_HEIGHT + GAP);
    let places: Vec<Place> = (0..graph.node_count()).map(|node| Place { x: x[node], y: top(ranks[node]) }).collect();
    let routes = layers.routes(&x, &places);
    Layout { places, routes, width: right, height: top(layers.order.len() - 1) + NODE_HEIGHT }
}

/// Returns the layer of each node: one below its lowest input.
fn ranks(graph: &LayerGraph) -> Vec<usize> {
    let mut ranks: Vec<usize> = Vec::with_capacity(graph.node_count());
    for node in graph.nodes() {
        ranks.push(node.inputs.iter().map(|&from| ranks[from] + 1).max().unwrap_or(0));
    }
    // The output is below everything, even below a layer that leads nowhere.
    if let Some((output, others)) = ranks.split_last_mut() {
        *output = others.iter().max().map_or(0, |lowest| lowest + 1);
    }
    ranks
}

impl Layers {
    fn new(graph: &LayerGraph, ranks: &[usize]) -> Self {
        let count = ranks.iter().max().map_or(0, |rank| rank + 1);
        let mut layers = Self {
            order: vec![Vec::new(); count],
            items: (0..graph.node_count()).map(Item::Node).collect(),
            above: vec![Vec::new(); graph.node_count()],
            below: vec![Vec::new(); graph.node_count()],
            chains: Vec::new(),
        };
        for (node, &rank) in ranks.iter().enumerate() {
            layers.order[rank].push(node);
        }
        for (to, node) in graph.nodes().iter().enumerate() {
            for &from in &node.inputs {
                let edge = layers.chains.len();
                let mut chain = vec![from];
                for rank in ranks[from] + 1..ranks[to] {
                    let lane = layers.items.len();
                    layers.items.push(Item::Lane(edge));
                    layers.above.push(Vec::new());
                    layers.below.push(Vec::new());
                    layers.order[rank].push(lane);
                    chain.push(lane);
                }
                chain.push(to);
                for pair in chain.windows(2) {
                    layers.below[pair[0]].push(pair[1]);
                    layers.above[pair[1]].push(pair[0]);
                }
                layers.chains.push(chain);
            }
        }
        layers
    }

    /// Orders each layer by the medians of its neighbours, downwards and upwards in turn, and keeps the order with the
    /// fewest crossings.
    fn order_by_crossings(&mut self) {
        let sweeps = if self.items.len() > 2_000 { 4 } else { 24 };
        let mut best = (self.crossings(), self.order.clone());
        for sweep in 0..sweeps {
            if best.0 == 0 {
                break;
            }
            let downwards = sweep % 2 == 0;
            let count = self.order.len();
            for step in 1..count {
                let rank = if downwards { step } else { count - 1 - step };
                self.order_layer(rank, downwards);
            }
            self.swap_neighbours();
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.order.clone());
            }
        }
        self.order = best.1;
    }

    fn order_layer(&mut self, rank: usize, downwards: bool) {
        let places = self.places();
        let joined = if downwards { &self.above } else { &self.below };
        let mut keyed: Vec<(f64, usize)> = self.order[rank]
            .iter()
            .enumerate()
            .map(|(own, &item)| {
                let mut neighbours: Vec<usize> = joined[item].iter().map(|&other| places[other]).collect();
                neighbours.sort_unstable();
                let median = match neighbours.len() {
                    0 => own as f64,
                    count => (neighbours[(count - 1) / 2] + neighbours[count / 2]) as f64 / 2.0,
                };
                (median, item)
            })
            .collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.order[rank] = keyed.into_iter().map(|(_, item)| item).collect();
    }

    /// Swaps neighbours wherever that saves a crossing.
    fn swap_neighbours(&mut self) {
        if self.items.len() > 2_000 {
            return;
        }
        for rank in 0..self.order.len() {
            let places = self.places();
            let crossings = |first: usize, second: usize| {
                let of = |joined: &[Vec<usize>]| {
                    let pairs = joined[first].iter().flat_map(|&a| joined[second].iter().map(move |&b| (a, b)));
                    pairs.filter(|&(a, b)| places[a] > places[b]).count()
                };
                of(&self.above) + of(&self.below)
            };
            let mut layer = self.order[rank].clone();
            for place in 1..layer.len() {
                if crossings(layer[place], layer[place - 1]) < crossings(layer[place - 1], layer[place]) {
                    layer.swap(place - 1, place);
                }
            }
            self.order[rank] = layer;
        }
    }

    /// Returns the place of each item in its layer, by item number.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.items.len()];
        let layers = self.order.iter().flat_map(|layer| layer.iter().enumerate());
        layers.for_each(|(place, &item)| places[item] = place);
        places
    }

    fn crossings(&self) -> usize {
        let (mut crossings, places) = (0, self.places());
        for layer in &self.order {
            let mut seen: Vec<usize> = Vec::new();
            for &item in layer {
                let mut ends: Vec<usize> = self.below[item].iter().map(|&to| places[to]).collect();
                crossings += ends.iter().map(|end| seen.iter().filter(|before| *before > end).count()).sum::<usize>();
                seen.append(&mut ends);
            }
        }
        crossings
    }

    /// Returns the horizontal middle of each item. Every layer in turn is drawn towards its neighbours; lanes pull
    /// harder than nodes, so that long edges run straight.
    fn positions(&self) -> Vec<f64> {
        let mut x = vec![0.0; self.items.len()];
        for layer in &self.order {
            let mut edge = 0.0;
            for &item in layer {
                x[item] = edge + self.items[item].width() / 2.0;
                edge += self.items[item].width() + NODE_SEPARATION;
            }
            for &item in layer {
                x[item] -= edge / 2.0;
            }
        }
        for round in 0..40 {
            for step in 0..self.order.len() {
                let rank = if round % 2 == 0 { step } else { self.order.len() - 1 - step };
                self.straighten(rank, &mut x);
            }
            self.align_lanes(&mut x);
        }
        x
    }

    /// Aligns the lanes of each edge vertically, as far as their neighbours leave room for it.
    fn align_lanes(&self, x: &mut [f64]) {
        let mut beside = vec![(None, None); self.items.len()];
        for layer in &self.order {
            for pair in layer.windows(2) {
                beside[pair[0]].1 = Some(pair[1]);
                beside[pair[1]].0 = Some(pair[0]);
            }
        }
        for chain in &self.chains {
            let mut rest = &chain[1..chain.len() - 1];
            while !rest.is_empty() {
                let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
                let mut count = 0;
                for &lane in rest {
                    let (left, right) = beside[lane];
                    let lowest = left.map_or(f64::NEG_INFINITY, |left| x[left] + self.distance(left, lane));
                    let highest = right.map_or(f64::INFINITY, |right| x[right] - self.distance(lane, right));
                    if low.max(lowest) > high.min(highest) {
                        break;
                    }
                    (low, high) = (low.max(lowest), high.min(highest));
                    count += 1;
                }
                // A lane that has no room at all stays where it is.
                let (run, after) = rest.split_at(count.max(1));
                if count > 0 {
                    let mean = run.iter().map(|&lane| x[lane]).sum::<f64>() / count as f64;
                    for &lane in run {
                        x[lane] = mean.clamp(low, high);
                    }
                }
                rest = after;
            }
        }
    }

    /// Returns the least distance between the middles of two neighbours in a layer.
    fn distance(&self, left: usize, right: usize) -> f64 {
        let lanes = [left, right].iter().all(|&item| matches!(self.items[item], Item::Lane(_)));
        let gap = if lanes { LANE_GAP } else { NODE_SEPARATION };
        f64::midpoint(self.items[left].width(), self.items[right].width()) + gap
    }

    fn straighten(&self, rank: usize, x: &mut [f64]) {
        let layer = &self.order[rank];
        let is_lane = |item: usize| matches!(self.items[item], Item::Lane(_));
        // Without the least distances, positions that respect them are a rising sequence.
        let mut offset = 0.0;
        let mut wanted = Vec::with_capacity(layer.len());
        for (place, &item) in layer.iter().enumerate() {
            if place > 0 {
                let before = layer[place - 1];
                offset += self.distance(before, item);
            }
            let neighbours = self.above[item].iter().chain(&self.below[item]);
            let (mut sum, mut weights) = (0.0, 0.0);
            for &other in neighbours {
                let weight = if is_lane(item) && is_lane(other) { 8.0 } else { 1.0 };
                sum += weight * x[other];
                weights += weight;
            }
            let target = if weights > 0.0 { sum / weights } else { x[item] };
            let strength = if is_lane(item) { 4.0 } else { 1.0 };
            wanted.push((target - offset, strength));
            x[item] = offset;
        }
        for (&item, rising) in layer.iter().zip(rising(&wanted)) {
            x[item] += rising;
        }
    }

    /// Returns the path of each edge.
    fn routes(&self, x: &[f64], places: &[Place]) -> Vec<Route> {
        let (begins, ends) = (self.ports(x, places, true), self.ports(x, places, false));
        let route = |(edge, chain): (usize, &Vec<usize>)| {
            let (from, to) = (chain[0], chain[chain.len() - 1]);
            let mut points = vec![(begins[edge], places[from].y + NODE_HEIGHT)];
            for (step, &lane) in chain[1..chain.len() - 1].iter().enumerate() {
                points.push((x[lane], places[from].y + (step + 1) as f64 * (NODE_HEIGHT + GAP)));
            }
            points.push((ends[edge], places[to].y));
            Route { from, to, points }
        };
        self.chains.iter().enumerate().map(route).collect()
    }

    /// Returns where each edge begins, or where it ends. At a node these are in the order of the edges' other ends, so
    /// that they do not cross there.
    fn ports(&self, x: &[f64], places: &[Place], outgoing: bool) -> Vec<f64> {
        // The item at the end of an edge, and the one beside it.
        let end = |edge: usize| {
            let chain = &self.chains[edge];
            if outgoing { (chain[0], chain[1]) } else { (chain[chain.len() - 1], chain[chain.len() - 2]) }
        };
        let mut ports = vec![0.0; self.chains.len()];
        for (node, place) in places.iter().enumerate() {
            let mut edges: Vec<usize> = (0..self.chains.len()).filter(|&edge| end(edge).0 == node).collect();
            edges.sort_by(|&a, &b| x[end(a).1].total_cmp(&x[end(b).1]));
            let separation = PORT_SEPARATION.min((NODE_WIDTH - 24.0) / edges.len() as f64);
            let middle = (edges.len() as f64 - 1.0) / 2.0;
            for (position, &edge) in edges.iter().enumerate() {
                ports[edge] = place.x + (position as f64 - middle) * separation;
            }
        }
        ports
    }
}

/// Returns the rising sequence closest to `wanted`, pairs of value and weight, by weighted least squares: neighbours
/// that are out of order share their mean.
fn rising(wanted: &[(f64, f64)]) -> Vec<f64> {
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for &(value, weight) in wanted {
        let mut block = (value, weight, 1);
        while let Some(&(before, mass, count)) = blocks.last() {
            if before <= block.0 {
                break;
            }
            blocks.pop();
            let mean = (before * mass + block.0 * block.1) / (mass + block.1);
            block = (mean, mass + block.1, count + block.2);
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}
