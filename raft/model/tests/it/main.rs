//! Tests of the replicated model through its public face.

mod sessions;
mod world;
