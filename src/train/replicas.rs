//! One step of training on several devices: each takes a part of the batch.

use super::Classifier;
use burn::module::{ModuleVisitor, Param};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use std::thread;

/// The devices of a training. The first holds the network, the optimizer and the images; the others compute with copies of
/// the network.
pub(super) struct Replicas {
    /// The loss on each device, which records gradients.
    devices: Vec<(Device, CrossEntropyLoss)>,
}

/// The mean loss of a batch, without gradients, and the gradients of the network, both on the first device.
pub(super) struct Backward {
    pub(super) loss: Tensor<1>,
    pub(super) gradients: GradientsParams,
}

impl Replicas {
    pub(super) fn new(first: &Device, others: &[Device], label_smoothing: Option<f32>) -> Self {
        let devices = std::iter::once(first).chain(others).map(|device| {
            let device = device.clone().autodiff();
            let loss = CrossEntropyLossConfig::new().with_smoothing(label_smoothing).init(&device);
            (device, loss)
        });
        Self { devices: devices.collect() }
    }

    /// The gradients of the mean loss of a batch that is on the first device.
    ///
    /// On several devices each normalises by the mean and the variance of its own part of the batch, as is usual, and the
    /// running statistics are those of the first part.
    pub(super) fn backward<M: Classifier>(&self, network: &M, images: Tensor<4>, labels: Tensor<1, Int>) -> Backward {
        let parts = parts(labels.dims()[0], self.devices.len());
        let [(_, loss), others @ ..] = &self.devices[..] else { unreachable!("there is a first device") };
        if parts.len() == 1 {
            return backward(network, loss, images.autodiff(), labels.autodiff(), 1.0);
        }
        thread::scope(|scope| {
            let running: Vec<_> = others
                .iter()
                .zip(&parts[1..])
                .map(|((device, loss), part)| {
                    // A copy by way of inference: a plain clone would share the running statistics, and move them away.
                    let replica = network.valid().train().fork(device);
                    let images =
                        images.clone().slice_dim(0, part.range.clone()).to_device(&device.clone().without_autodiff());
                    let labels =
                        labels.clone().slice_dim(0, part.range.clone()).to_device(&device.clone().without_autodiff());
                    scope.spawn(move || backward(&replica, loss, images.autodiff(), labels.autodiff(), part.share))
                })
                .collect();
            let first = &parts[0];
            let images = images.clone().slice_dim(0, first.range.clone());
            let labels = labels.clone().slice_dim(0, first.range.clone());
            let mut whole = backward(network, loss, images.autodiff(), labels.autodiff(), first.share);
            let place = whole.loss.device();
            for handle in running {
                let part = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                whole.loss = whole.loss + part.loss.to_device(&place);
                let mut sum = Sum { from: part.gradients, into: &mut whole.gradients };
                network.visit(&mut sum);
            }
            whole
        })
    }
}

/// A part of a batch.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    range: std::ops::Range<usize>,
    /// Of the whole batch.
    share: f64,
}

/// Distributes images over devices as equally as possible; the first ones get one more.
fn parts(images: usize, devices: usize) -> Vec<Part> {
    let mut start = 0;
    (0..devices.min(images))
        .map(|device| {
            let size = images / devices.min(images) + usize::from(device < images % devices.min(images));
            let range = start..start + size;
            start += size;
            Part { range, share: size as f64 / images as f64 }
        })
        .collect()
}

/// The loss times `share` and its gradients.
fn backward<M: Classifier>(
    network: &M,
    loss: &CrossEntropyLoss,
    images: Tensor<4>,
    labels: Tensor<1, Int>,
    share: f64,
) -> Backward {
    let loss = loss.forward(network.classify(images), labels);
    // A multiplication by 1 would cost nothing but a look at why it is there.
    let loss = if share < 1.0 { loss.mul_scalar(share) } else { loss };
    let gradients = GradientsParams::from_grads(loss.backward(), network);
    Backward { loss: loss.inner(), gradients }
}

/// Adds gradients of a copy to those of the network that is visited.
struct Sum<'a> {
    from: GradientsParams,
    into: &'a mut GradientsParams,
}

impl ModuleVisitor for Sum<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(part) = self.from.remove::<D>(param.id) else { return };
        let sum = match self.into.remove::<D>(param.id) {
            Some(sum) => {
                let place = sum.device();
                sum + part.to_device(&place)
            }
            None => part.to_device(&param.val().device().without_autodiff()),
        };
        self.into.register(param.id, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_dealt_out_as_equally_as_can_be() {
        let sizes =
            |images, devices| -> Vec<usize> { parts(images, devices).iter().map(|part| part.range.len()).collect() };
        assert_eq!(sizes(10, 3), [4, 3, 3]);
        assert_eq!(sizes(2, 3), [1, 1]);
        assert_eq!(sizes(6, 1), [6]);
        let ten = parts(10, 3);
        assert_eq!(ten[2].range, 7..10);
        assert!((ten.iter().map(|part| part.share).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
