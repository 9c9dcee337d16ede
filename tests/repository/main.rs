//! What the pages, the manifests and the imports of the repository promise each other.

mod commands;
mod examples;
mod functions;
mod links;
mod manifests;
mod paper_map;
mod rooms;
