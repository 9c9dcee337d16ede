//! Collects the nodes and tensors of an ONNX graph.

use super::proto::{Attribute, FLOAT, Graph, INT64, Node, Tensor, Value};

/// A graph under construction. Each node has one output, which has the name of the node.
#[derive(Debug, Default)]
pub(super) struct Builder {
    graph: Graph,
}

impl Builder {
    /// Adds a node and returns the name of its output.
    pub(super) fn node(
        &mut self,
        name: impl Into<String>,
        operator: &str,
        inputs: &[&str],
        attributes: impl Into<Vec<Attribute>>,
    ) -> String {
        let name = name.into();
        self.graph.node.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: operator.to_owned(),
            attribute: attributes.into(),
        });
        name
    }

    /// Adds single-precision values and returns their name.
    pub(super) fn floats(&mut self, name: impl Into<String>, shape: &[i64], values: &[f32]) -> String {
        self.tensor(name, FLOAT, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds a list of integers and returns its name.
    pub(super) fn integers(&mut self, name: impl Into<String>, values: &[i64]) -> String {
        let shape = [i64::try_from(values.len()).unwrap_or(i64::MAX)];
        self.tensor(name, INT64, &shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn tensor(&mut self, name: impl Into<String>, data_type: i32, shape: &[i64], raw_data: Vec<u8>) -> String {
        let name = name.into();
        self.graph.initializer.push(Tensor { dims: shape.to_vec(), data_type, name: name.clone(), raw_data });
        name
    }

    /// Returns the finished graph.
    pub(super) fn finish(mut self, name: &str, input: Value, output: Value) -> Graph {
        name.clone_into(&mut self.graph.name);
        (self.graph.input, self.graph.output) = (vec![input], vec![output]);
        self.graph
    }
}
