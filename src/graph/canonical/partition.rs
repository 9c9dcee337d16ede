//! Ordered partitions of a graph's vertices, and colour refinement.

use super::{Colour, Multigraph, mix};
use std::collections::VecDeque;

/// The vertices, ordered by cells; a cell is identified by the position at which it starts.
///
/// The order of the cells depends only on the graph, that of the vertices within a cell on their numbers.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    /// The vertices, cell after cell.
    pub(super) order: Vec<usize>,
    /// The position of each vertex in `order`.
    pub(super) position: Vec<usize>,
    /// The cell of each vertex.
    cell_of: Vec<usize>,
    /// The number of vertices of each cell, at its start; meaningless at other positions.
    length: Vec<usize>,
    /// The number of cells.
    cells: usize,
}

impl Partition {
    /// Creates one cell for each colour, in the order of the colours.
    pub(super) fn by_colour(colours: &[Colour]) -> Self {
        let count = colours.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|&vertex| colours[vertex]);
        let mut partition =
            Self { order, position: vec![0; count], cell_of: vec![0; count], length: vec![0; count], cells: 0 };
        let mut start = 0;
        while start < count {
            let colour = colours[partition.order[start]];
            let length = partition.order[start..].iter().take_while(|&&vertex| colours[vertex] == colour).count();
            partition.make_cell(start, length);
            partition.cells += 1;
            start += length;
        }
        partition
    }

    /// Returns whether every cell has one vertex.
    pub(super) fn is_discrete(&self) -> bool {
        self.cells == self.order.len()
    }

    /// Returns the vertices of a cell.
    pub(super) fn cell(&self, start: usize) -> &[usize] {
        &self.order[start..start + self.length[start]]
    }

    /// Returns the first of the largest cells, if any cell has more than one vertex.
    ///
    /// A small cell is tempting because it has few branches, but its vertices often depend on those chosen before: in a
    /// projective plane, the smallest cell runs along one line, whose points no automorphism exchanges freely.
    pub(super) fn largest_open_cell(&self) -> Option<usize> {
        let mut largest = 0;
        let mut start = 0;
        while start < self.order.len() {
            if self.length[start] > self.length[largest] {
                largest = start;
            }
            start += self.length[start];
        }
        (self.length[largest] > 1).then_some(largest)
    }

    /// Makes the vertices at `start..start + length` one cell.
    fn make_cell(&mut self, start: usize, length: usize) {
        self.length[start] = length;
        for position in start..start + length {
            let vertex = self.order[position];
            self.position[vertex] = position;
            self.cell_of[vertex] = start;
        }
    }
}

/// Colour refinement, with its working memory.
///
/// A cell splits others: vertices are separated if their edges to and from the splitting cell differ in number,
/// direction or multiplicity. Cells wait in a queue that holds each at most once. When a cell is split that has already
/// split others, its largest part need not be queued again.
#[derive(Debug)]
pub(super) struct Refiner {
    queue: VecDeque<usize>,
    queued: Vec<bool>,
    /// For each vertex, the summed weights of its edges with the splitting cell.
    weights: Vec<u64>,
    touched: Vec<bool>,
    touched_vertices: Vec<usize>,
    touched_cells: Vec<usize>,
}

impl Refiner {
    /// Creates a refiner for graphs of `count` vertices.
    pub(super) fn new(count: usize) -> Self {
        Self {
            queue: VecDeque::with_capacity(count),
            queued: vec![false; count],
            weights: vec![0; count],
            touched: vec![false; count],
            touched_vertices: Vec::with_capacity(count),
            touched_cells: Vec::with_capacity(count),
        }
    }

    /// Refines a partition that has never been refined.
    pub(super) fn refine_all(&mut self, graph: &Multigraph, partition: &mut Partition) {
        let mut start = 0;
        while start < partition.order.len() {
            self.enqueue(start);
            start += partition.length[start];
        }
        self.refine(graph, partition);
    }

    /// Gives `vertex` a cell of its own, in front of the rest of its cell, and refines a partition that was refined
    /// before. Returns the trace: a number that depends only on the structure of the two partitions.
    pub(super) fn individualise(&mut self, graph: &Multigraph, partition: &mut Partition, vertex: usize) -> u64 {
        let start = partition.cell_of[vertex];
        let length = partition.length[start];
        partition.order.swap(start, partition.position[vertex]);
        partition.make_cell(start, 1);
        partition.make_cell(start + 1, length - 1);
        partition.cells += 1;
        self.enqueue(start);
        mix(start as u64, self.refine(graph, partition))
    }

    fn enqueue(&mut self, cell: usize) {
        if !std::mem::replace(&mut self.queued[cell], true) {
            self.queue.push_back(cell);
        }
    }

    fn refine(&mut self, graph: &Multigraph, partition: &mut Partition) -> u64 {
        let mut trace = 0;
        while let Some(splitter) = self.queue.pop_front() {
            self.queued[splitter] = false;
            if partition.is_discrete() {
                continue;
            }
            for &vertex in partition.cell(splitter) {
                for &(neighbour, weight) in graph.neighbours(vertex) {
                    self.weights[neighbour] = self.weights[neighbour].wrapping_add(weight);
                    if !std::mem::replace(&mut self.touched[neighbour], true) {
                        self.touched_vertices.push(neighbour);
                        self.touched_cells.push(partition.cell_of[neighbour]);
                    }
                }
            }
            self.touched_cells.sort_unstable();
            self.touched_cells.dedup();
            for index in 0..self.touched_cells.len() {
                trace = self.split(partition, self.touched_cells[index], mix(trace, splitter as u64));
            }
            self.touched_cells.clear();
            for vertex in self.touched_vertices.drain(..) {
                self.weights[vertex] = 0;
                self.touched[vertex] = false;
            }
        }
        mix(trace, partition.cells as u64)
    }

    /// Splits `cell` by the weights of its vertices, and mixes the parts into the trace.
    fn split(&mut self, partition: &mut Partition, cell: usize, mut trace: u64) -> u64 {
        let end = cell + partition.length[cell];
        let first = self.weights[partition.order[cell]];
        if partition.order[cell + 1..end].iter().all(|&vertex| self.weights[vertex] == first) {
            return mix(mix(trace, cell as u64), first);
        }
        let weights = &self.weights;
        partition.order[cell..end].sort_unstable_by_key(|&vertex| weights[vertex]);
        let mut largest = cell;
        let mut start = cell;
        while start < end {
            let weight = self.weights[partition.order[start]];
            let same = |&&vertex: &&usize| self.weights[vertex] == weight;
            let length = partition.order[start..end].iter().take_while(same).count();
            partition.make_cell(start, length);
            if length > partition.length[largest] {
                largest = start;
            }
            if start > cell {
                partition.cells += 1;
            }
            trace = mix(mix(mix(trace, start as u64), length as u64), weight);
            start += length;
        }
        let skipped = if self.queued[cell] { cell } else { largest };
        start = cell;
        while start < end {
            if start != skipped {
                self.enqueue(start);
            }
            start += partition.length[start];
        }
        trace
    }
}
