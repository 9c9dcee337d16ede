//! Vectors of the processor.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatched function is compiled without its vectors"
)]

use pulp::bytemuck::cast;
use pulp::{Arch, Simd};

/// Returns the widest vectors of the processor that rows of so many numbers can fill.
pub(super) fn arch(row: usize) -> Arch {
    #[cfg(target_arch = "x86_64")]
    if row <= 8
        && let Some(half) = pulp::x86::V3::try_new()
    {
        return Arch::V3(half);
    }
    Arch::new()
}

/// Loads a vector from `slice[at..]`.
#[inline(always)]
pub(super) fn load<S: Simd>(slice: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&slice[at..at + S::F32_LANES]).0[0]
}

/// Loads the first lanes of a vector, as many as `slice` has.
#[inline(always)]
pub(super) fn load_some<S: Simd>(simd: S, slice: &[f32]) -> S::f32s {
    match S::as_simd_f32s(slice) {
        (&[whole], []) => whole,
        _ => simd.partial_load_f32s(slice),
    }
}

/// Stores the first lanes of a vector, as many as `slice` has.
///
/// The vector's address is not taken: that would force it into memory, with all vectors computed beside it.
#[inline(always)]
pub(super) fn store<S: Simd>(simd: S, slice: &mut [f32], vector: S::f32s) {
    match S::as_mut_simd_f32s(slice) {
        ([whole], []) => *whole = vector,
        _ => simd.partial_store_f32s(slice, vector),
    }
}

/// Returns 0 in place of negative numbers. NaN stays NaN, so that a training that diverges is noticed.
#[inline(always)]
pub(super) fn rectify<S: Simd>(simd: S, vector: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    select(simd, simd.less_than_f32s(vector, zero), zero, vector)
}

/// Returns 0 where `mask` is not positive, and `vector` elsewhere.
#[inline(always)]
pub(super) fn keep_positive<S: Simd>(simd: S, mask: S::f32s, vector: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    select(simd, simd.less_than_f32s(zero, mask), vector, zero)
}

/// Returns where `vector` is larger than `other`, or NaN.
#[inline(always)]
pub(super) fn larger<S: Simd>(simd: S, vector: S::f32s, other: S::f32s) -> S::m32s {
    let is_number = simd.equal_f32s(vector, vector);
    simd.or_m32s(simd.less_than_f32s(other, vector), simd.not_m32s(is_number))
}

/// Chooses lanes of one vector or the other. pulp's own functions for this and for its casts are not always inlined.
#[inline(always)]
pub(super) fn select<S: Simd>(simd: S, mask: S::m32s, if_true: S::f32s, if_false: S::f32s) -> S::f32s {
    cast(simd.select_u32s(mask, cast(if_true), cast(if_false)))
}
