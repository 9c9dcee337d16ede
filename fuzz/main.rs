#![no_main]

mod targets;

// Every target is a binary of its own, of this one source.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = targets::TARGETS.iter().find(|(name, _)| *name == env!("CARGO_BIN_NAME"));
    target.expect("a function in targets.rs with the name of the binary").1(bytes);
});
