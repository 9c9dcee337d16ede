//! Graphs with many symmetries, or with none that refinement can see: the search must stay short on all of them.

use super::*;

const ADD: Operation = Operation::Add;

/// Returns the fingerprint of a graph, after checking that it does not depend on the numbers of its nodes and that no
/// numbering takes more than `most` refinements.
fn fingerprint_within(most: usize, graph: &LayerGraph) -> Fingerprint {
    let fingerprint = graph.fingerprint();
    let mut rng = seed::stream(9, "relabel", 0);
    for _ in 0..4 {
        let other = relabelled(&mut rng, graph);
        let (_, refinements) = canonical_form(&other.contracted());
        assert!(refinements <= most, "{refinements} refinements");
        assert_eq!(other.fingerprint(), fingerprint);
    }
    fingerprint
}

/// A graph with a convolution for each point, an addition over its points for each line, and an output of all
/// additions.
fn incidence(points: usize, lines: &[Vec<usize>]) -> LayerGraph {
    let mut nodes = vec![Node::new(Operation::Input, [])];
    nodes.extend((0..points).map(|_| Node::new(CONVOLUTION, [0])));
    nodes.extend(lines.iter().map(|line| Node::new(ADD, line.iter().map(|point| point + 1).collect::<Vec<_>>())));
    nodes.push(Node::new(Operation::Output, (points + 1..nodes.len()).collect::<Vec<_>>()));
    LayerGraph::new(nodes).expect("valid")
}

/// A graph of `count` convolutions, each added to its `partner`.
pub(super) fn pair_sums(count: usize, partner: impl Fn(usize) -> usize) -> LayerGraph {
    incidence(count, &(0..count).map(|point| vec![point, partner(point)]).collect::<Vec<_>>())
}

/// A graph of `count` equal chains of `length` convolutions from input to output.
fn chains(count: usize, length: usize) -> LayerGraph {
    let mut nodes = vec![Node::new(Operation::Input, [])];
    let mut leaves = Vec::new();
    for _ in 0..count {
        nodes.push(Node::new(CONVOLUTION, [0]));
        for _ in 1..length {
            nodes.push(Node::new(CONVOLUTION, [nodes.len() - 1]));
        }
        leaves.push(nodes.len() - 1);
    }
    nodes.push(Node::new(Operation::Output, leaves));
    LayerGraph::new(nodes).expect("valid")
}

#[test]
fn equal_branches_do_not_multiply() {
    fingerprint_within(22, &chains(22, 1));
    fingerprint_within(126, &chains(126, 1));
    for (count, length) in [(10, 2), (7, 3), (63, 2), (42, 3), (9, 14)] {
        // One descent, and one for each automorphism that exchanges two neighbouring chains.
        fingerprint_within(count * count, &chains(count, length));
    }
}

#[test]
fn cycles_of_different_lengths_differ_though_refinement_sees_none() {
    let ring = |count: usize, size: usize| pair_sums(count, move |point| point - point % size + (point + 1) % size);
    let fingerprints =
        [ring(12, 12), ring(12, 6), ring(12, 4), ring(12, 3)].map(|graph| fingerprint_within(60, &graph));
    for (index, fingerprint) in fingerprints.iter().enumerate() {
        assert!(!fingerprints[..index].contains(fingerprint), "{index}");
    }
    for size in [3, 4, 5, 7, 9, 21, 60] {
        fingerprint_within(1_000, &ring(60 - 60 % size, size));
    }
}

/// The projective plane over the integers modulo the prime `order`.
fn projective_plane(order: usize) -> LayerGraph {
    let mut points = vec![[0, 0, 1]];
    points.extend((0..order).map(|z| [0, 1, z]));
    points.extend((0..order * order).map(|index| [1, index / order, index % order]));
    let on = |a: &[usize; 3], b: &[usize; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<usize>() % order == 0;
    let lines: Vec<Vec<usize>> =
        points.iter().map(|line| (0..points.len()).filter(|&point| on(line, &points[point])).collect()).collect();
    incidence(points.len(), &lines)
}

#[test]
fn projective_planes_take_few_refinements() {
    assert_eq!(projective_plane(7).node_count(), 116);
    for order in [2, 3, 5, 7] {
        fingerprint_within(30, &projective_plane(order));
    }
}

/// The Steiner triple system of Bose's construction on `3 * third` points, for an odd `third`.
fn triple_system(third: usize) -> LayerGraph {
    let point = |element: usize, level: usize| element + third * (level % 3);
    let half = third.div_ceil(2);
    let mut lines: Vec<Vec<usize>> = (0..third).map(|x| (0..3).map(|level| point(x, level)).collect()).collect();
    for level in 0..3 {
        for x in 0..third {
            lines.extend(
                (0..x).map(|y| vec![point(x, level), point(y, level), point((x + y) * half % third, level + 1)]),
            );
        }
    }
    incidence(3 * third, &lines)
}

#[test]
fn triple_systems_take_few_refinements() {
    for third in [3, 5, 7] {
        fingerprint_within(300, &triple_system(third));
    }
}

/// The graph of Cai, Fürer and Immerman over a base graph whose vertices all have three edges, with two convolutions
/// per edge and four additions per vertex. Refinement cannot distinguish an even from an odd number of `twisted`
/// vertices.
fn cai_fuerer_immerman(edges: &[(usize, usize)], twisted: &[usize]) -> LayerGraph {
    let vertices = edges.len() * 2 / 3;
    let mut lines = Vec::new();
    for vertex in 0..vertices {
        let own: Vec<usize> =
            (0..edges.len()).filter(|&edge| edges[edge].0 == vertex || edges[edge].1 == vertex).collect();
        let parity = usize::from(twisted.contains(&vertex));
        for choice in (0..8usize).filter(|choice| choice.count_ones() as usize % 2 == parity) {
            lines.push((0..3).map(|bit| 2 * own[bit] + (choice >> bit & 1)).collect());
        }
    }
    incidence(2 * edges.len(), &lines)
}

/// A ring of `half` vertices, a second ring in which each vertex is joined to the one `step` further, and a rung
/// between each pair.
fn petersen(half: usize, step: usize) -> Vec<(usize, usize)> {
    (0..half).flat_map(|i| [(i, (i + 1) % half), (i, half + i), (half + i, half + (i + step) % half)]).collect()
}

#[test]
fn graphs_that_refinement_cannot_tell_apart_differ() {
    let tetrahedron = vec![(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    for (edges, most) in [(tetrahedron, 30), (petersen(3, 1), 30), (petersen(5, 2), 50), (petersen(9, 2), 150)] {
        let straight = fingerprint_within(most, &cai_fuerer_immerman(&edges, &[]));
        let twisted = fingerprint_within(most, &cai_fuerer_immerman(&edges, &[0]));
        assert_ne!(straight, twisted);
        assert_eq!(twisted, fingerprint_within(most, &cai_fuerer_immerman(&edges, &[2])));
        assert_eq!(straight, fingerprint_within(most, &cai_fuerer_immerman(&edges, &[1, 3])));
    }
}

#[test]
fn many_copies_of_a_part_without_symmetry_take_few_refinements() {
    // Frucht's graph: every vertex has three edges, and no automorphism moves one.
    let frucht = [
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (4, 5),
        (5, 6),
        (6, 0),
        (0, 7),
        (1, 7),
        (2, 8),
        (3, 9),
        (4, 9),
        (5, 10),
        (6, 10),
        (7, 11),
        (8, 9),
        (8, 11),
        (10, 11),
    ];
    for copies in 1..=4 {
        let lines: Vec<Vec<usize>> =
            (0..copies).flat_map(|copy| frucht.map(|(a, b)| vec![12 * copy + a, 12 * copy + b])).collect();
        fingerprint_within(3_000, &incidence(12 * copies, &lines));
    }
}

/// The cells of a Latin square, with its rows, columns and symbols as lines.
fn latin_square(order: usize, symbol: impl Fn(usize, usize) -> usize) -> LayerGraph {
    let mut lines = vec![Vec::new(); 3 * order];
    for cell in 0..order * order {
        let (row, column) = (cell / order, cell % order);
        for line in [row, order + column, 2 * order + symbol(row, column)] {
            lines[line].push(cell);
        }
    }
    incidence(order * order, &lines)
}

/// The graph of a matrix of signs, with two points per column and two lines per row, joined where the entry has their
/// sign.
fn sign_matrix(size: usize, positive: impl Fn(usize, usize) -> bool) -> LayerGraph {
    let line = |index: usize| {
        (0..size)
            .map(|column| 2 * column + usize::from(positive(index / 2, column) == index.is_multiple_of(2)))
            .collect()
    };
    incidence(2 * size, &(0..2 * size).map(line).collect::<Vec<_>>())
}

#[test]
fn designs_take_few_refinements() {
    let cyclic = latin_square(9, |row, column| (row + column) % 9);
    let by_three = latin_square(9, |row, column| (row / 3 + column / 3) % 3 * 3 + (row + column) % 3);
    assert_ne!(fingerprint_within(100, &cyclic), fingerprint_within(100, &by_three));
    fingerprint_within(100, &latin_square(8, |row, column| row ^ column));

    // Hadamard matrices: Sylvester's of order 16, and Paley's over the integers modulo a prime.
    let sylvester = sign_matrix(16, |row, column| (row & column).count_ones() % 2 == 0);
    fingerprint_within(100, &sylvester);
    for (prime, most) in [(11, 50), (19, 500)] {
        let is_square = |number: usize| (1..prime).any(|root| root * root % prime == number % prime);
        let paley = sign_matrix(prime + 1, |row, column| match (row, column) {
            (0, _) => true,
            (_, 0) => false,
            (row, column) => row == column || is_square(prime + column - row),
        });
        fingerprint_within(most, &paley);
    }
}
