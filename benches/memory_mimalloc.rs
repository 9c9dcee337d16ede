//! The same as the bench `memory`, with the allocator of the examples.

#[path = "memory.rs"]
mod memory;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    memory::main()
}
