//! Integration tests of the replicated core.

mod cluster;
mod consensus;
mod generated;
