//! The numbers of any module, in the order in which burn visits them.

use super::TrainError;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// Numbers the parameters of a module from 0. An optimizer stores its state under these numbers. burn draws them at
/// random, so the state could not be matched with a module that was built again.
pub(super) fn numbered<M: Module>(module: M) -> M {
    module.map(&mut Numbering { next: 0 })
}

struct Numbering {
    next: u64,
}

impl ModuleMapper for Numbering {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, tensor, mapper) = param.consume();
        let id = ParamId::from(self.next);
        self.next += 1;
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// Returns all numbers of a module, including running statistics, with each tensor flattened and without gradients.
pub(super) fn values<M: Module>(module: &M) -> Vec<Tensor<1>> {
    // Updates the running statistics, which may still lack the last batch.
    let module = module.valid();
    let mut reader = Reader { values: Vec::new() };
    module.visit(&mut reader);
    reader.values
}

struct Reader {
    values: Vec<Tensor<1>>,
}

impl ModuleVisitor for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let elements = value.shape().num_elements();
        self.values.push(value.reshape([elements]));
    }
}

/// Replaces the numbers of a module by `values`, in the form returned by [`values`].
pub(super) fn with_values<M: Module>(module: M, values: Vec<Tensor<1>>) -> Result<M, TrainError> {
    let mut writer = Writer { values: values.into_iter(), fits: true };
    let module = module.map(&mut writer);
    if writer.fits && writer.values.next().is_none() {
        Ok(module)
    } else {
        Err(TrainError::Device { message: "the numbers belong to another network".to_owned() })
    }
}

struct Writer<I> {
    values: I,
    fits: bool,
}

impl<I: Iterator<Item = Tensor<1>>> ModuleMapper for Writer<I> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.shape();
        let value = self.values.next().filter(|value| value.shape().num_elements() == shape.num_elements());
        let Some(value) = value else {
            self.fits = false;
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let mut value: Tensor<D> = value.reshape(shape);
        if tensor.device().is_autodiff() {
            value = value.autodiff();
        }
        let value = value.set_require_grad(tensor.is_require_grad());
        Param::from_mapped_value(id, value, mapper)
    }
}
